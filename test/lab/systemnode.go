package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// SystemNode is the name of the node whose pods are processes.
const SystemNode = "system"

// LabelSystemNode, with value "true", selects the system node. It has a taint of the same name, so
// that only pods come that ask for it: it runs only images that it was told about.
const (
	LabelSystemNode = "lab.spillway-project.io/system"
	TaintSystemNode = "lab.spillway-project.io/system"
)

// Pod is a pod of the system node.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Address is the loopback address that the pod's processes listen on; PublishedAddress is what the API shows.
	Address          string      `json:"address"`
	PublishedAddress string      `json:"publishedAddress"`
	Containers       []Container `json:"containers"`
}

// Container is a container of a pod of the system node.
type Container struct {
	Name     string `json:"name"`
	Image    string `json:"image"`
	State    string `json:"state"` // Waiting, Running or Terminated
	PID      int    `json:"pid"`   // on this machine; 0 unless running
	Restarts int    `json:"restarts"`
	Ready    bool   `json:"ready"`
	Log      string `json:"log"` // file with the output of the run under way or of the last one
}

// systemConfig is what the system node's kubelet is told; it is a file in the lab's folder.
type systemConfig struct {
	Node          string            `json:"node"`
	Labels        map[string]string `json:"labels"`
	Kubeconfig    string            `json:"kubeconfig"`
	Dir           string            `json:"dir"`  // volumes and roots
	Logs          string            `json:"logs"` // output of containers
	Socket        string            `json:"socket"`
	Isolation     Isolation         `json:"isolation"`
	APIServer     string            `json:"apiServer"` // host:port that pods are told
	Local         string            `json:"local"`     // the lab's network
	Published     string            `json:"published"` // the network that the API knows
	NodeAddress   string            `json:"nodeAddress"`
	Listen        string            `json:"listen"` // where logs and exec are served
	Port          int               `json:"port"`
	Certificate   string            `json:"certificate"`
	Key           string            `json:"key"`
	ClientCA      string            `json:"clientCA"`
	ClusterCA     string            `json:"clusterCA"`
	Images        map[string]Image  `json:"images"`
	FirstPodHost  byte              `json:"firstPodHost"`
	LastPodHost   byte              `json:"lastPodHost"`
	ClusterDomain string            `json:"clusterDomain"`
}

// startSystemNode starts the kubelet whose pods are processes and waits until its node is Ready.
func (l *Lab) startSystemNode(ctx context.Context) error {
	done := l.step("system node")
	host := l.net.host(hostSystemNode)
	port, err := l.net.port(hostSystemNode, 10250)
	if err != nil {
		return err
	}
	ca := l.path("pki/ca.crt")
	const firstPod, lastPod = 10, 254
	config, err := json.MarshalIndent(systemConfig{
		Node: SystemNode, Labels: map[string]string{LabelSystemNode: "true"},
		Kubeconfig: l.Kubeconfig(), Dir: l.path("system"), Logs: filepath.Join(l.logs(), "pods"), Socket: l.path(systemSocket),
		Isolation: l.opts.Isolation, APIServer: l.config.Host, Local: l.net.prefix.String(), Published: podRange,
		NodeAddress: published(hostSystemNode), Listen: hostPort(host, port), Port: port,
		Certificate: l.path("pki/kubelet.crt"), Key: l.path("pki/kubelet.key"), ClientCA: ca, ClusterCA: ca,
		Images: l.opts.Images, FirstPodHost: firstPod, LastPodHost: lastPod, ClusterDomain: "cluster.local",
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the system node's configuration: %w", err)
	}
	file := l.path("system.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return fmt.Errorf("writing the system node's configuration: %w", err)
	}
	p, err := l.run(command{name: "system-kubelet", path: filepath.Join(l.state.Bin["labnode"], "labnode"), args: []string{"system", "--config=" + file}})
	if err != nil {
		return err
	}
	if err := l.waitNode(ctx, SystemNode, p); err != nil {
		return err
	}
	done()
	return nil
}

// BuildImage builds a main package of the product, such as ./cmd/spillway, and makes it the image
// of that name. Pods whose containers wait for the image start; those that run are left alone.
func (l *Lab) BuildImage(ctx context.Context, name, pkg string, opts ...BuildOption) (Image, error) {
	image, err := l.builder.Image(ctx, pkg, opts...)
	if err != nil {
		return Image{}, fmt.Errorf("building image %s: %w", name, err)
	}
	return image, l.SetImage(ctx, name, image)
}

// SetImage says what containers with that image run from their next start on.
func (l *Lab) SetImage(ctx context.Context, name string, image Image) error {
	return l.control(ctx, systemSocket, http.MethodPut, "/images", map[string]Image{name: image}, nil)
}

// Images are what the image names of the system node stand for.
func (l *Lab) Images(ctx context.Context) (map[string]Image, error) {
	var images map[string]Image
	return images, l.control(ctx, systemSocket, http.MethodGet, "/images", nil, &images)
}

// Pods are the pods of the system node, with the process IDs of their containers.
func (l *Lab) Pods(ctx context.Context) ([]Pod, error) {
	var pods []Pod
	return pods, l.control(ctx, systemSocket, http.MethodGet, "/pods", nil, &pods)
}

// KillContainer sends SIGKILL to a container of the system node, as the kernel does when memory
// runs out: no grace, no hook. The kubelet restarts it by the pod's restartPolicy. An empty container means the pod's first one.
func (l *Lab) KillContainer(ctx context.Context, namespace, pod, container string) error {
	return l.SignalContainer(ctx, namespace, pod, container, "KILL")
}

// SignalContainer sends a signal, such as KILL, TERM, STOP or CONT, to a container of the system node.
func (l *Lab) SignalContainer(ctx context.Context, namespace, pod, container, signal string) error {
	return l.control(ctx, systemSocket, http.MethodPost, "/signal", map[string]string{
		"namespace": namespace, "pod": pod, "container": container, "signal": signal,
	}, nil)
}
