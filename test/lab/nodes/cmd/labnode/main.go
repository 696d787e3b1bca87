package main

import (
	_ "github.com/virtual-kubelet/virtual-kubelet/node/api"
	_ "github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	_ "k8s.io/client-go/kubernetes"
	_ "sigs.k8s.io/yaml"
	_ "golang.org/x/sys/unix"
)

func main() {}
