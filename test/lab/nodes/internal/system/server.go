package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"
	"golang.org/x/sys/unix"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/kubelet"
)

// PodInfo is what the control socket tells of a pod.
type PodInfo struct {
	Namespace        string          `json:"namespace"`
	Name             string          `json:"name"`
	UID              string          `json:"uid"`
	Address          string          `json:"address"`
	PublishedAddress string          `json:"publishedAddress"`
	Containers       []ContainerInfo `json:"containers"`
}

// ContainerInfo is what the control socket tells of a container.
type ContainerInfo struct {
	Name     string `json:"name"`
	Image    string `json:"image"`
	State    string `json:"state"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
	Ready    bool   `json:"ready"`
	Log      string `json:"log"`
}

func (n *Node) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", kubelet.Handle(func(*http.Request) (any, error) { return n.infos(), nil }))
	mux.HandleFunc("GET /images", kubelet.Handle(func(*http.Request) (any, error) { return n.images.all(), nil }))
	mux.HandleFunc("PUT /images", kubelet.Handle(func(r *http.Request) (any, error) {
		var more map[string]Image
		if err := kubelet.Decode(r, &more); err != nil {
			return nil, err
		}
		return struct{}{}, n.images.set(more)
	}))
	mux.HandleFunc("POST /signal", kubelet.Handle(func(r *http.Request) (any, error) {
		var target struct{ Namespace, Pod, Container, Signal string }
		if err := kubelet.Decode(r, &target); err != nil {
			return nil, err
		}
		return struct{}{}, n.signal(target.Namespace, target.Pod, target.Container, target.Signal)
	}))
	return mux
}

func (n *Node) infos() []PodInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := []PodInfo{}
	for _, p := range n.pods {
		object := p.spec()
		info := PodInfo{
			Namespace: object.Namespace, Name: object.Name, UID: string(object.UID),
			Address: p.address, PublishedAddress: host(n.config.Published, p.last),
		}
		for _, c := range append(append([]*container{}, p.init...), p.containers...) {
			info.Containers = append(info.Containers, c.info())
		}
		all = append(all, info)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Namespace+"/"+all[i].Name < all[j].Namespace+"/"+all[j].Name })
	return all
}

func (c *container) info() ContainerInfo {
	status := c.status()
	info := ContainerInfo{
		Name: c.name, Image: status.Image, Restarts: int(status.RestartCount), Ready: status.Ready, Log: c.currentLog(), State: "Waiting",
	}
	switch {
	case status.State.Running != nil:
		info.State = "Running"
	case status.State.Terminated != nil:
		info.State = "Terminated"
	}
	if process, _ := c.current(); process != nil {
		info.PID = process.PID()
	}
	return info
}

func (n *Node) signal(namespace, podName, containerName, signal string) error {
	p, err := n.podNamed(namespace, podName)
	if err != nil {
		return err
	}
	c, err := p.find(containerName)
	if err != nil {
		return err
	}
	number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(signal), "SIG"))
	if number == 0 {
		return fmt.Errorf("there is no signal %q", signal)
	}
	process, _ := c.current()
	if process == nil {
		return fmt.Errorf("container %s of pod %s is not running", c.name, p.name())
	}
	if err := process.Signal(number); err != nil {
		return fmt.Errorf("sending %s to container %s of pod %s: %w", signal, c.name, p.name(), err)
	}
	return nil
}

// GetContainerLogs implements nodeutil.Provider.
func (n *Node) GetContainerLogs(ctx context.Context, namespace, podName, containerName string, opts api.ContainerLogOpts) (io.ReadCloser, error) {
	p, err := n.podNamed(namespace, podName)
	if err != nil {
		return nil, err
	}
	c, err := p.find(containerName)
	if err != nil {
		return nil, err
	}
	return c.logs(ctx, opts)
}

// RunInContainer implements nodeutil.Provider; there is no terminal.
func (n *Node) RunInContainer(ctx context.Context, namespace, podName, containerName string, command []string, attach api.AttachIO) error {
	p, err := n.podNamed(namespace, podName)
	if err != nil {
		return err
	}
	c, err := p.find(containerName)
	if err != nil {
		return err
	}
	process, env := c.current()
	if process == nil {
		return fmt.Errorf("container %s of pod %s is not running", c.name, p.name())
	}
	cmd, err := process.Command(n.mode, command, env)
	if err != nil {
		return err
	}
	if in := attach.Stdin(); in != nil {
		cmd.Stdin = in
	}
	if out := attach.Stdout(); out != nil {
		cmd.Stdout = out
	}
	if out := attach.Stderr(); out != nil {
		cmd.Stderr = out
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running %q in pod %s: %w", command, p.name(), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	return cmd.Wait()
}

// AttachToContainer implements nodeutil.Provider.
func (n *Node) AttachToContainer(context.Context, string, string, string, api.AttachIO) error {
	return errors.New("attaching is not supported: use logs or exec")
}

// PortForward implements nodeutil.Provider.
func (n *Node) PortForward(ctx context.Context, namespace, podName string, port int32, stream io.ReadWriteCloser) error {
	p, err := n.podNamed(namespace, podName)
	if err != nil {
		return err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort(p.address, strconv.Itoa(int(port))))
	if err != nil {
		return fmt.Errorf("forwarding port %d of pod %s: %w", port, p.name(), err)
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(conn, stream); _ = conn.Close() })
	both.Go(func() { _, _ = io.Copy(stream, conn); _ = stream.Close() })
	both.Wait()
	return nil
}

// GetStatsSummary implements nodeutil.Provider.
func (n *Node) GetStatsSummary(context.Context) (*statsv1alpha1.Summary, error) {
	return &statsv1alpha1.Summary{Node: statsv1alpha1.NodeStats{NodeName: n.config.Node}}, nil
}

// GetMetricsResource implements nodeutil.Provider.
func (n *Node) GetMetricsResource(context.Context) ([]*dto.MetricFamily, error) { return nil, nil }
