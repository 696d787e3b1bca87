package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-project/spillway/test/lab"
)

func down(_ context.Context, l *lab.Lab, _ []string) error {
	began := time.Now()
	if err := l.Stop(); err != nil {
		return err
	}
	logf("%-8s %-24s %s", "stopped", "the lab", time.Since(began).Round(10*time.Millisecond))
	return nil
}

// status shows the lab's processes, nodes and the system node's pods.
func status(ctx context.Context, l *lab.Lab, _ []string) error {
	fmt.Printf("lab in %s, up for %s\n\n", l.Dir(), time.Since(l.Started()).Round(time.Second))
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PROCESS\tPID\tMEMORY\tCPU")
	for _, p := range l.Processes() {
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\n", p.Name, p.PID, memory(p.PID), cpu(p.PID))
	}
	fmt.Fprintln(table, "\t\t\t")
	if err := nodeTable(ctx, l, table); err != nil {
		return err
	}
	pods, err := l.Pods(ctx)
	if err == nil && len(pods) > 0 { // a lab without a system node has none
		fmt.Fprintln(table, "\t\t\t")
		fmt.Fprintln(table, "SYSTEM POD\tCONTAINER\tSTATE\tPID\tRESTARTS\tADDRESS")
		for _, pod := range pods {
			for _, c := range pod.Containers {
				fmt.Fprintf(table, "%s/%s\t%s\t%s\t%d\t%d\t%s\n", pod.Namespace, pod.Name, c.Name, c.State, c.PID, c.Restarts, pod.Address)
			}
		}
	}
	return table.Flush()
}

func nodeTable(ctx context.Context, l *lab.Lab, table *tabwriter.Writer) error {
	nodes, err := l.Clientset().CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing nodes: %w", err)
	}
	virtual, err := l.VirtualNodes(ctx)
	if err != nil {
		return err
	}
	faults := map[string]string{}
	kinds := map[string]string{}
	for _, v := range virtual {
		kinds[v.Name] = string(v.Profile)
		faults[v.Name] = knobText(v.Knobs)
	}
	fmt.Fprintln(table, "NODE\tKIND\tREADY\tFAULTS")
	for _, node := range nodes.Items {
		kind := kinds[node.Name]
		switch {
		case node.Name == lab.SystemNode:
			kind = "system"
		case kind == "":
			kind = "own"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", node.Name, kind, ready(&node), faults[node.Name])
	}
	return nil
}

func ready(node *corev1.Node) string {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return string(c.Status)
		}
	}
	return "Unknown"
}

// knobText is the knobs that are set, as one line of JSON.
func knobText(knobs lab.Knobs) string {
	content, err := json.Marshal(knobs)
	if err != nil || string(content) == "{}" {
		return ""
	}
	return string(content)
}

// memory is a process's resident memory.
func memory(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "gone"
	}
	for line := range strings.Lines(string(content)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return fmt.Sprintf("%d MB", kib/1000)
		}
	}
	return "?"
}

// cpu is the processor time that a process has used.
func cpu(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "gone"
	}
	// The name in brackets may hold anything; what follows is counted from after it.
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	const user, system, ticksPerSecond = 11, 12, 100
	if len(fields) <= system {
		return "?"
	}
	u, _ := strconv.Atoi(fields[user])
	s, _ := strconv.Atoi(fields[system])
	return fmt.Sprintf("%.1f s", float64(u+s)/ticksPerSecond)
}

func image(ctx context.Context, l *lab.Lab, args []string) error {
	if len(args) != 2 {
		return errors.New("usage: lab image NAME PACKAGE|FILE")
	}
	name, source := args[0], args[1]
	if info, err := os.Stat(source); err == nil && !info.IsDir() {
		return l.SetImage(ctx, name, lab.Image{Binary: source})
	}
	made, err := l.BuildImage(ctx, name, source)
	if err != nil {
		return err
	}
	logf("%s is %s", name, made.Binary)
	return nil
}

func kill(ctx context.Context, l *lab.Lab, args []string) error {
	flags := flag.NewFlagSet("kill", flag.ContinueOnError)
	namespace := flags.String("n", "default", "namespace")
	if err := flags.Parse(args); err != nil {
		return ignoreHelp(err)
	}
	if flags.NArg() == 0 {
		return errors.New("usage: lab kill [-n NAMESPACE] POD [CONTAINER]")
	}
	return l.KillContainer(ctx, *namespace, flags.Arg(0), flags.Arg(1))
}

func restart(ctx context.Context, l *lab.Lab, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: lab restart NODE")
	}
	return l.RestartVirtualNode(ctx, args[0])
}

// knob shows or changes the knobs of a virtual node; those that are not named stay as they are.
func knob(ctx context.Context, l *lab.Lab, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: lab knob NODE [off | NAME=VALUE ...]")
	}
	nodes, err := l.VirtualNodes(ctx)
	if err != nil {
		return err
	}
	for _, node := range nodes {
		if node.Name != args[0] {
			continue
		}
		knobs, err := turn(node.Knobs, args[1:])
		if err != nil {
			return err
		}
		if len(args) > 1 {
			if err := l.SetKnobs(ctx, node.Name, knobs); err != nil {
				return err
			}
		}
		fmt.Printf("%s %s\n", node.Name, knobText(knobs))
		return nil
	}
	return fmt.Errorf("there is no virtual node %q", args[0])
}

// turn applies NAME=VALUE settings. Values are JSON, or else text.
func turn(knobs lab.Knobs, settings []string) (lab.Knobs, error) {
	if len(settings) == 1 && settings[0] == "off" {
		return lab.Knobs{}, nil
	}
	for _, setting := range settings {
		name, value, ok := strings.Cut(setting, "=")
		if !ok {
			return knobs, fmt.Errorf("%q is not NAME=VALUE", setting)
		}
		if !json.Valid([]byte(value)) {
			value = strconv.Quote(value)
		}
		decoder := json.NewDecoder(strings.NewReader(fmt.Sprintf("{%q: %s}", name, value)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&knobs); err != nil {
			return knobs, fmt.Errorf("setting %s: %w", setting, err)
		}
	}
	return knobs, nil
}

// pass runs a program of the lab with this one's input and output.
func pass(ctx context.Context, prepare func(context.Context, ...string) (*exec.Cmd, error), args []string) error {
	cmd, err := prepare(ctx, args...)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
