package system

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/sandbox"
)

const (
	defaultTerminationPath = "/dev/termination-log"
	maxTerminationMessage  = 4096
	nobody                 = 65534
)

// sandbox describes the box for one run of a container.
func (c *container) sandbox(spec *corev1.Container, image Image, env environment) (sandbox.Spec, error) {
	object := c.pod.spec()
	mounts, err := c.mounts(spec, env)
	if err != nil {
		return sandbox.Spec{}, err
	}
	dir := spec.WorkingDir
	if dir == "" {
		dir = "/"
	}
	box := sandbox.Spec{
		Mode: c.pod.node.mode, Root: filepath.Join(c.pod.dir, "roots", c.name), Hostname: object.Name,
		Mounts: append([]sandbox.Mount{{Source: image.Binary, Target: image.Path, ReadOnly: true}}, mounts...),
		Files:  c.pod.files(), Args: env.args, Env: env.env, WorkingDir: dir,
	}
	c.security(&box, object, spec)
	if box.Mode == sandbox.ModeNone {
		return c.withoutRoot(box, image)
	}
	return box, os.MkdirAll(box.Root, 0o755)
}

// mounts are the container's volume mounts and the file for its termination message.
func (c *container) mounts(spec *corev1.Container, env environment) ([]sandbox.Mount, error) {
	object := c.pod.spec()
	volumes := map[string]*corev1.Volume{}
	for i := range object.Spec.Volumes {
		volumes[object.Spec.Volumes[i].Name] = &object.Spec.Volumes[i]
	}
	var mounts []sandbox.Mount
	for _, mount := range spec.VolumeMounts {
		volume := volumes[mount.Name]
		if volume == nil {
			return nil, fmt.Errorf("volume %q does not exist", mount.Name)
		}
		sub := mount.SubPath
		if mount.SubPathExpr != "" {
			vars := newVariables()
			for _, entry := range env.env {
				name, value, _ := strings.Cut(entry, "=")
				vars.set(name, value)
			}
			sub = expand(mount.SubPathExpr, vars.get)
		}
		source := filepath.Join(c.pod.volumePath(volume), sub)
		if sub != "" && volume.EmptyDir != nil {
			if err := makeShared(source); err != nil {
				return nil, fmt.Errorf("creating the folder of volume %s: %w", mount.Name, err)
			}
		}
		writable := volume.EmptyDir != nil || volume.HostPath != nil
		mounts = append(mounts, sandbox.Mount{Source: source, Target: mount.MountPath, ReadOnly: mount.ReadOnly || !writable})
	}
	// Outer folders first, whatever the order in the pod.
	sort.SliceStable(mounts, func(i, j int) bool { return len(mounts[i].Target) < len(mounts[j].Target) })
	file := c.terminationFile()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o666), os.Chmod(file, 0o666)); err != nil {
		return nil, fmt.Errorf("creating the termination log: %w", err)
	}
	target := spec.TerminationMessagePath
	if target == "" {
		target = defaultTerminationPath
	}
	return append(mounts, sandbox.Mount{Source: file, Target: target}), nil
}

func (c *container) terminationFile() string {
	return filepath.Join(c.pod.dir, "termination", c.name)
}

// terminationMessage is what the container left for its status.
func (c *container) terminationMessage() string {
	content, err := os.ReadFile(c.terminationFile())
	if err != nil {
		return ""
	}
	if len(content) == 0 && c.spec().TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		if content, err = os.ReadFile(c.currentLog()); err != nil {
			return ""
		}
	}
	return string(content[max(0, len(content)-maxTerminationMessage):])
}

// files are those that every image has.
func (p *pod) files() map[string]string {
	object := p.spec()
	return map[string]string{
		"/etc/hostname":      object.Name + "\n",
		"/etc/hosts":         "127.0.0.1\tlocalhost\n" + p.address + "\t" + object.Name + "\n",
		"/etc/resolv.conf":   "search " + object.Namespace + ".svc." + p.node.config.ClusterDomain + "\n",
		"/etc/nsswitch.conf": "hosts: files\n",
		"/etc/passwd":        fmt.Sprintf("root:x:0:0:root:/:/\nnonroot:x:65532:65532:nonroot:/:/\nnobody:x:%[1]d:%[1]d:nobody:/:/\n", nobody),
		"/etc/group":         fmt.Sprintf("root:x:0:\nnonroot:x:65532:\nnobody:x:%d:\n", nobody),
	}
}

// security fills in user, groups and the like; the container's own settings win over the pod's.
func (c *container) security(box *sandbox.Spec, object *corev1.Pod, spec *corev1.Container) {
	if pod := object.Spec.SecurityContext; pod != nil {
		setID(&box.User, pod.RunAsUser)
		setID(&box.Group, pod.RunAsGroup)
		for _, group := range pod.SupplementalGroups {
			box.Groups = append(box.Groups, int(group))
		}
		if pod.FSGroup != nil {
			box.Groups = append(box.Groups, int(*pod.FSGroup))
		}
	}
	own := spec.SecurityContext
	if own == nil {
		return
	}
	setID(&box.User, own.RunAsUser)
	setID(&box.Group, own.RunAsGroup)
	box.ReadOnlyRoot = own.ReadOnlyRootFilesystem != nil && *own.ReadOnlyRootFilesystem
	box.NoNewPrivileges = own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation
}

func setID(to *int, from *int64) {
	if from != nil {
		*to = int(*from)
	}
}

// checkUser refuses what the kubelet refuses: to run as root what says that it is not root. Images
// here name no user, so one that must not be root has to say which it is.
func (c *container) checkUser(spec *corev1.Container) error {
	var box sandbox.Spec
	object := c.pod.spec()
	c.security(&box, object, spec)
	nonRoot := false
	if pod := object.Spec.SecurityContext; pod != nil && pod.RunAsNonRoot != nil {
		nonRoot = *pod.RunAsNonRoot
	}
	if own := spec.SecurityContext; own != nil && own.RunAsNonRoot != nil {
		nonRoot = *own.RunAsNonRoot
	}
	if nonRoot && box.User == 0 {
		return errors.New("container has runAsNonRoot and image will run as root: set runAsUser")
	}
	return nil
}

// withoutRoot makes a box work that has no root of its own: paths of volumes become those of this
// machine wherever they stand in arguments and environment, and the token is found through KUBECONFIG.
func (c *container) withoutRoot(box sandbox.Spec, image Image) (sandbox.Spec, error) {
	mounts := append([]sandbox.Mount{}, box.Mounts...)
	sort.SliceStable(mounts, func(i, j int) bool { return len(mounts[i].Target) > len(mounts[j].Target) })
	var pairs []string
	for _, mount := range mounts {
		if mount.Target != image.Path {
			pairs = append(pairs, mount.Target, mount.Source)
		}
	}
	replace := strings.NewReplacer(pairs...).Replace
	box.Args = append([]string{}, box.Args...)
	for i := range box.Args {
		box.Args[i] = replace(box.Args[i])
	}
	for i := range box.Env {
		name, value, _ := strings.Cut(box.Env[i], "=")
		box.Env[i] = name + "=" + replace(value)
	}
	if box.Args[0] == image.Path || box.Args[0] == filepath.Base(image.Path) {
		box.Args[0] = image.Binary
	}
	box.WorkingDir = filepath.Join(c.pod.dir, "work", c.name)
	if err := os.MkdirAll(box.WorkingDir, 0o755); err != nil {
		return box, fmt.Errorf("creating the working directory: %w", err)
	}
	const tokens = "/var/run/secrets/kubernetes.io/serviceaccount"
	for _, mount := range box.Mounts {
		if mount.Target == tokens {
			file := filepath.Join(c.pod.dir, "kubeconfig")
			box.Env = append(box.Env, "KUBECONFIG="+file)
			return box, c.pod.writeKubeconfig(file, mount.Source)
		}
	}
	return box, nil
}

const kubeconfigTemplate = `apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: pod, user: {tokenFile: %q}}]
contexts: [{name: pod, context: {cluster: lab, user: pod, namespace: %q}}]
current-context: pod
`

func (p *pod) writeKubeconfig(file, tokens string) error {
	content := fmt.Sprintf(kubeconfigTemplate, p.node.config.APIServer,
		filepath.Join(tokens, "ca.crt"), filepath.Join(tokens, "token"), p.spec().Namespace)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return fmt.Errorf("writing the pod's kubeconfig: %w", err)
	}
	return nil
}
