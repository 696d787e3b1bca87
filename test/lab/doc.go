// Package lab runs a real Kubernetes cluster on one machine, from source, without a container engine.
//
// Start builds what is not built yet and starts etcd, the API server, the controller manager and the
// scheduler as processes on a loopback network of the lab's own, and around them
//
//   - own nodes, simulated by kwok: thousands of pods that become Ready without running anything;
//   - virtual nodes, which stand for other clusters, marked as one provider or another and with
//     faults that a test sets at run time (Knobs);
//   - the system node, whose pods are processes of this machine: what a chart installs really runs,
//     with its volumes, tokens, probes, restarts and graceful stops (Image, Pods, KillContainer);
//   - the egress proxy, by which the API server calls webhooks through their Service;
//   - cert-manager's own controllers and CA injector.
//
// A lab ends with the process that started it, however that ends: its processes get a signal from
// the kernel and a reaper removes its folder. Labs run side by side without knowing of each other.
// Package labtest wraps one for the tests of a package; command lab keeps one at hand for a person,
// and Attach takes such a one over. docs/lab.md tells how it works and what it does not do.
//
// The package runs on Linux only. The binaries come from two nested modules, controlplane and nodes,
// so that what they need does not show in the product's own go.mod.
package lab
