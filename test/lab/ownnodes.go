package lab

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// Annotations of pods on own nodes; kwok/config.yaml says what they do. All but Broken hold a duration such as "5s".
const (
	AnnotationStartDelay   = "lab.spillway-project.io/start-delay"
	AnnotationRestartDelay = "lab.spillway-project.io/restart-delay"
	AnnotationStopDelay    = "lab.spillway-project.io/stop-delay"
	AnnotationRunFor       = "lab.spillway-project.io/run-for"
	AnnotationBroken       = "lab.spillway-project.io/broken"
)

// BrokenImage is the end of the name of an image that no own node can pull.
const BrokenImage = ":broken"

// ownNodeLabel marks the nodes that kwok looks after.
const ownNodeLabel, ownNodeLabelValue = "type", "kwok"

const hostOwnNodes = 4 // last byte of the address that own nodes publish; nothing listens there

var (
	//go:embed kwok/config.yaml
	kwokConfig string
	//go:embed kwok/pod-status.tmpl
	kwokPodStatus string
)

// startOwnNodes starts kwok, creates the nodes and waits until they are Ready.
func (l *Lab) startOwnNodes(ctx context.Context) error {
	done := l.step("own nodes")
	// A JSON string is a double-quoted YAML scalar: no indentation to get wrong.
	template, err := json.Marshal(kwokPodStatus)
	if err != nil {
		return fmt.Errorf("encoding the pod status template: %w", err)
	}
	config := strings.NewReplacer(
		`"${POD_STATUS}"`, string(template), "${CIDR}", ownPodRange, "${NODE_IP}", published(hostOwnNodes),
	).Replace(kwokConfig)
	file := l.path("kwok.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return fmt.Errorf("writing kwok's configuration: %w", err)
	}
	port, err := l.net.port(hostAPI, 10247)
	if err != nil {
		return err
	}
	p, err := l.run(command{name: "kwok", path: filepath.Join(l.state.Bin["kwok"], "kwok"), args: []string{
		"--config=" + file, "--kubeconfig=" + l.Kubeconfig(), "--server-address=" + hostPort(l.net.host(hostAPI), port),
	}})
	if err != nil {
		return err
	}
	for _, group := range l.opts.OwnNodes {
		if err := l.AddOwnNodes(ctx, group); err != nil {
			return err
		}
	}
	if err := l.waitNodes(ctx, ownNodeLabel+"="+ownNodeLabelValue, p); err != nil {
		return err
	}
	done()
	return nil
}

// AddOwnNodes creates the nodes of a group; those that exist already are left as they are. They are
// Ready a moment later.
func (l *Lab) AddOwnNodes(ctx context.Context, group NodeGroup) error {
	const parallel = 16
	indexes := make(chan int)
	var workers sync.WaitGroup
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for range min(parallel, group.Count) {
		workers.Go(func() {
			for i := range indexes {
				if err := l.createNode(ctx, ownNode(group, i)); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range group.Count {
		indexes <- i
	}
	close(indexes)
	workers.Wait()
	return context.Cause(ctx)
}

func ownNode(group NodeGroup, index int) *corev1.Node {
	name := fmt.Sprintf("%s-%d", group.Name, index)
	labels := map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
		ownNodeLabel: ownNodeLabelValue, "lab.spillway-project.io/group": group.Name,
	}
	maps.Copy(labels, group.Labels)
	total := capacity(group.Capacity, "32", "128Gi", "110")
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: group.Taints},
		Status:     corev1.NodeStatus{Capacity: total, Allocatable: total},
	}
}

// createNode creates a node. Unlike other kinds, a node keeps the status that it is created with.
func (l *Lab) createNode(ctx context.Context, node *corev1.Node) error {
	_, err := l.kube.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating node %s: %w", node.Name, err)
	}
	return nil
}

// waitNodes waits until every node with the label is Ready and has lost the taint of new nodes.
func (l *Lab) waitNodes(ctx context.Context, selector string, p *process) error {
	return waitFor(ctx, "nodes with "+selector, func(ctx context.Context) error {
		nodes, err := l.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: "0"})
		if err != nil {
			return err
		}
		for _, node := range nodes.Items {
			if err := nodeUsable(&node); err != nil {
				return err
			}
		}
		return nil
	}, p)
}

func nodeUsable(node *corev1.Node) error {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return fmt.Errorf("node %s has taint %s", node.Name, taint.Key)
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return fmt.Errorf("node %s is not ready", node.Name)
}

// waitNode waits for one node, which may not exist yet.
func (l *Lab) waitNode(ctx context.Context, name string, p *process) error {
	byName := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	return waitFor(ctx, "node "+name, func(ctx context.Context) error {
		nodes, err := l.kube.CoreV1().Nodes().List(ctx, byName)
		if err != nil {
			return err
		}
		if len(nodes.Items) == 0 {
			return fmt.Errorf("node %s does not exist", name)
		}
		return nodeUsable(&nodes.Items[0])
	}, p)
}
