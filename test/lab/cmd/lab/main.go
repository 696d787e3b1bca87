// Command lab runs a cluster on this machine.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spillway-project/spillway/test/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	l, err := lab.Start(ctx, lab.Options{KeepDir: os.Getenv("KEEPDIR") != "", SaveLogs: "/tmp/lablogs", Logf: func(f string, a ...any) { fmt.Printf(f+"\n", a...) }})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("export KUBECONFIG=" + l.Kubeconfig())
	<-ctx.Done()
	fmt.Println(l.Stop())
}
