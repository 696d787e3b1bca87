// Package system is the kubelet of the lab's system node: a virtual-kubelet provider whose pods are
// processes of this machine.
//
// A pod gets a loopback address of its own, which its processes see as status.podIP and bind to,
// and a published address of a documentation range, which the API shows. Volumes, environment,
// probes, restarts and graceful stops follow the kubelet. Resource limits, seccomp, capabilities
// and persistent volumes do not exist.
package system

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"

	"github.com/spillway-project/spillway/test/lab/nodes/internal/sandbox"
)

// Config is written by the lab; its fields are explained there.
type Config struct {
	Node          string            `json:"node"`
	Labels        map[string]string `json:"labels"`
	Kubeconfig    string            `json:"kubeconfig"`
	Dir           string            `json:"dir"`
	Logs          string            `json:"logs"`
	Socket        string            `json:"socket"`
	Isolation     sandbox.Mode      `json:"isolation"`
	APIServer     string            `json:"apiServer"`
	Local         netip.Prefix      `json:"local"`
	Published     netip.Prefix      `json:"published"`
	NodeAddress   string            `json:"nodeAddress"`
	Listen        string            `json:"listen"`
	Port          int32             `json:"port"`
	Certificate   string            `json:"certificate"`
	Key           string            `json:"key"`
	ClientCA      string            `json:"clientCA"`
	ClusterCA     string            `json:"clusterCA"`
	Images        map[string]Image  `json:"images"`
	FirstPodHost  byte              `json:"firstPodHost"`
	LastPodHost   byte              `json:"lastPodHost"`
	ClusterDomain string            `json:"clusterDomain"`
}

// Image is what a container runs.
type Image struct {
	// Binary is a statically linked program on this machine.
	Binary string `json:"binary"`
	// Path is where a container sees it.
	Path string `json:"path,omitempty"`
	// Digest identifies its content.
	Digest string `json:"digest,omitempty"`
}

// LoadConfig reads a configuration file.
func LoadConfig(file string) (Config, error) {
	var config Config
	content, err := os.ReadFile(file)
	if err != nil {
		return config, fmt.Errorf("reading the configuration: %w", err)
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return config, fmt.Errorf("decoding configuration %s: %w", file, err)
	}
	return config, nil
}
