package lab

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Options say what a lab consists of. The zero value is a useful lab: three own nodes, one virtual
// node, the system node and cert-manager.
type Options struct {
	// OwnNodes are the cluster's own nodes, simulated by kwok: their pods run without processes.
	// Nil means one group of three; empty means none.
	OwnNodes []NodeGroup `json:"ownNodes,omitzero"`
	// VirtualNodes stand for other clusters. Nil means one, of profile tensile-kube; empty means none.
	VirtualNodes []VirtualNode `json:"virtualNodes,omitzero"`
	// WithoutSystemNode leaves out the node whose pods are processes.
	WithoutSystemNode bool `json:"withoutSystemNode,omitempty"`
	// WithoutCertManager leaves out cert-manager and its CRDs.
	WithoutCertManager bool `json:"withoutCertManager,omitempty"`
	// Images tell the system node which binary an image name stands for. Lab.SetImage changes them later.
	Images map[string]Image `json:"images,omitempty"`
	// Isolation says how containers of the system node are kept apart; by default the strongest way that works.
	Isolation Isolation `json:"isolation,omitempty"`

	// ComponentQPS is the limit that the controller manager and the scheduler put on their own calls a
	// second; their burst is twice that. The default of 500 lets a thousand pods be created in seconds.
	ComponentQPS int `json:"componentQPS,omitempty"`
	// NodeMonitorGracePeriod is how long a node may be silent before it is marked NotReady. The default,
	// 50 seconds, is Kubernetes' own; below 20 seconds a busy machine loses nodes that are alive.
	NodeMonitorGracePeriod time.Duration `json:"nodeMonitorGracePeriod,omitempty"`
	// APIServerArgs, ControllerManagerArgs and SchedulerArgs are added to the command lines.
	APIServerArgs         []string `json:"apiServerArgs,omitempty"`
	ControllerManagerArgs []string `json:"controllerManagerArgs,omitempty"`
	SchedulerArgs         []string `json:"schedulerArgs,omitempty"`

	// Dir holds everything the lab writes. By default a new folder in the temporary directory, which
	// Stop removes. It must be short: Unix sockets in it are limited to 107 bytes.
	Dir string `json:"dir,omitempty"`
	// KeepDir leaves Dir in place when the lab stops.
	KeepDir bool `json:"keepDir,omitempty"`
	// SaveLogs is a folder that gets the logs of a lab whose process died without stopping it. A
	// lab that is stopped in an orderly way leaves nothing there.
	SaveLogs string `json:"saveLogs,omitempty"`
	// Logf reports progress in short lines, for instance testing.T.Logf.
	Logf func(format string, args ...any) `json:"-"`
}

// NodeGroup is a number of like nodes, named Name-0, Name-1 and so on.
type NodeGroup struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
	// Capacity is cpu, memory and pods of each node; what is missing comes from a default of 32 CPUs, 128Gi and 110 pods.
	Capacity corev1.ResourceList `json:"capacity,omitempty"`
	Labels   map[string]string   `json:"labels,omitempty"`
	Taints   []corev1.Taint      `json:"taints,omitempty"`
}

// Profile names a kind of virtual node; it decides labels and taints.
type Profile string

// The kinds of virtual nodes that the lab can play.
const (
	ProfileTensileKube Profile = "tensile-kube"
	ProfileKosmos      Profile = "kosmos"
	ProfileLiqo        Profile = "liqo"
	ProfileGeneric     Profile = "generic"
)

// VirtualNode is a node that stands for another cluster.
type VirtualNode struct {
	Name    string  `json:"name"`
	Profile Profile `json:"profile"`
	// Capacity is what the node offers; what is missing comes from a default of 1000 CPUs, 4Ti and 5000 pods.
	Capacity corev1.ResourceList `json:"capacity,omitempty"`
	// Labels and Taints are added to those of the profile.
	Labels map[string]string `json:"labels,omitempty"`
	Taints []corev1.Taint    `json:"taints,omitempty"`
	// Knobs are the faults that the node starts with.
	Knobs Knobs `json:"knobs,omitzero"`
	// Member is the kubeconfig of the cluster that the node stands for, such as another lab's: its provider creates
	// the pods there, in the manner of the profile. Empty: there is none, and pods run in the provider's books.
	Member string `json:"member,omitempty"`
}

// Image is what a container of the system node runs.
type Image struct {
	// Binary is a statically linked program on this machine: the container's entry point.
	Binary string `json:"binary"`
	// Path is where the container sees Binary; by default a file of the same name in the root folder.
	Path string `json:"path,omitempty"`
	// Digest is reported as the image's ID; by default it is made of Binary's path, size and time.
	Digest string `json:"digest,omitempty"`
}

// Isolation is a way to keep the containers of the system node apart.
type Isolation string

// Ways to isolate containers, strongest first.
const (
	// IsolationRoot gives each container a root file system and a process tree of its own; it needs root.
	IsolationRoot Isolation = "root"
	// IsolationUser does the same in a user namespace, where the machine lets unprivileged users make one.
	// Containers then all run as the lab's own user, whatever runAsUser says.
	IsolationUser Isolation = "user"
	// IsolationNone only starts processes. Paths of volumes are rewritten in arguments and
	// environment, and KUBECONFIG points to a kubeconfig with the pod's token.
	IsolationNone Isolation = "none"
)

const (
	defaultQPS         = 500
	defaultGracePeriod = 50 * time.Second
)

// withDefaults fills in what the caller left out.
func (o Options) withDefaults() Options {
	if o.OwnNodes == nil {
		o.OwnNodes = []NodeGroup{{Name: "own", Count: 3}}
	}
	if o.VirtualNodes == nil {
		o.VirtualNodes = []VirtualNode{{Name: "virtual-0", Profile: ProfileTensileKube}}
	}
	if o.ComponentQPS == 0 {
		o.ComponentQPS = defaultQPS
	}
	if o.NodeMonitorGracePeriod == 0 {
		o.NodeMonitorGracePeriod = defaultGracePeriod
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	return o
}

// capacity is given with what is missing taken from the default.
func capacity(given corev1.ResourceList, cpu, memory, pods string) corev1.ResourceList {
	all := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse(memory),
		corev1.ResourcePods:   resource.MustParse(pods),
	}
	maps.Copy(all, given)
	return all
}
