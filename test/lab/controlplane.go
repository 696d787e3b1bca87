package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// controlPlane is what the rest of the lab has to know of it.
type controlPlane struct {
	pki    *pki
	api    string // host:port of the API server
	config *rest.Config
}

const egressConfig = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: %s
`

// startControlPlane starts etcd and the three Kubernetes processes and waits until they serve.
// The controller manager and the scheduler need the API server, so they start once it is ready.
func (l *Lab) startControlPlane(ctx context.Context) (*controlPlane, error) {
	bin, err := l.builder.folder(ctx, "controlplane")
	if err != nil {
		return nil, err
	}
	done := l.step("control plane")
	keys, err := newPKI(l.path("pki"), l.net)
	if err != nil {
		return nil, err
	}
	etcd, err := l.startEtcd(bin, keys)
	if err != nil {
		return nil, err
	}
	cp, err := l.startAPIServer(ctx, bin, keys, etcd)
	if err != nil {
		return nil, err
	}
	err = concurrently(ctx,
		func(ctx context.Context) error { return l.startControllerManager(ctx, bin, cp) },
		func(ctx context.Context) error { return l.startScheduler(ctx, bin, cp) },
	)
	if err != nil {
		return nil, err
	}
	done()
	return cp, nil
}

// startEtcd returns the URL of etcd. It does not wait: the API server does.
func (l *Lab) startEtcd(bin string, keys *pki) (string, error) {
	host := l.net.host(hostAPI)
	client, err := l.net.port(hostAPI, 2379)
	if err != nil {
		return "", err
	}
	peer, err := l.net.port(hostAPI, 2380)
	if err != nil {
		return "", err
	}
	clientURL := "https://" + hostPort(host, client)
	peerURL := "http://" + hostPort(host, peer) // a cluster of one: nobody calls it
	const quota = 8 << 30                       // a burst of thousands of pods must not hit the 2 GiB default
	_, err = l.run(command{name: "etcd", path: filepath.Join(bin, "etcd"), args: []string{
		"--name=lab", "--data-dir=" + l.path("etcd"),
		"--unsafe-no-fsync", // the data is worthless after the lab, the disk is not fast
		"--listen-client-urls=" + clientURL, "--advertise-client-urls=" + clientURL,
		"--listen-peer-urls=" + peerURL, "--initial-advertise-peer-urls=" + peerURL, "--initial-cluster=lab=" + peerURL,
		"--client-cert-auth", "--trusted-ca-file=" + keys.etcd.certFile(),
		"--cert-file=" + keys.etcd.file("etcd", ".crt"), "--key-file=" + keys.etcd.file("etcd", ".key"),
		"--quota-backend-bytes=" + strconv.Itoa(quota), "--log-level=warn",
	}})
	return clientURL, err
}

func (l *Lab) startAPIServer(ctx context.Context, bin string, keys *pki, etcd string) (*controlPlane, error) {
	host := l.net.host(hostAPI)
	port, err := l.net.port(hostAPI, 6443)
	if err != nil {
		return nil, err
	}
	selector := l.path("egress.yaml")
	if err := os.WriteFile(selector, fmt.Appendf(nil, egressConfig, l.path("egress.sock")), 0o600); err != nil {
		return nil, fmt.Errorf("writing the egress configuration: %w", err)
	}
	crt := func(name string) string { return keys.cluster.file(name, ".crt") }
	key := func(name string) string { return keys.cluster.file(name, ".key") }
	args := []string{
		"--bind-address=" + host, "--secure-port=" + strconv.Itoa(port),
		// The address of Service kubernetes; the egress proxy maps it back. Left out, the server
		// would publish an address of this machine's own.
		"--advertise-address=" + published(hostAPI),
		"--etcd-servers=" + etcd, "--etcd-cafile=" + keys.etcd.certFile(),
		"--etcd-certfile=" + keys.etcd.file("etcd", ".crt"), "--etcd-keyfile=" + keys.etcd.file("etcd", ".key"),
		"--tls-cert-file=" + crt("apiserver"), "--tls-private-key-file=" + key("apiserver"),
		"--client-ca-file=" + keys.cluster.certFile(), "--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-signing-key-file=" + keys.serviceAccountKey, "--service-account-key-file=" + keys.serviceAccountKey,
		"--kubelet-certificate-authority=" + keys.cluster.certFile(), "--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + crt("apiserver-kubelet"), "--kubelet-client-key=" + key("apiserver-kubelet"),
		"--requestheader-client-ca-file=" + keys.proxy.certFile(), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + keys.proxy.file("front-proxy", ".crt"), "--proxy-client-key-file=" + keys.proxy.file("front-proxy", ".key"),
		"--egress-selector-config-file=" + selector,
	}
	p, err := l.run(command{name: "kube-apiserver", path: filepath.Join(bin, "kube-apiserver"), args: append(args, l.opts.APIServerArgs...)})
	if err != nil {
		return nil, err
	}
	cp := &controlPlane{pki: keys, api: hostPort(host, port)}
	for name, user := range map[string]string{l.Kubeconfig(): "admin", l.path("controller-manager.kubeconfig"): "controller-manager", l.path("scheduler.kubeconfig"): "scheduler"} {
		if err := cp.writeKubeconfig(name, user); err != nil {
			return nil, err
		}
	}
	if cp.config, err = clientcmd.BuildConfigFromFlags("", l.Kubeconfig()); err != nil {
		return nil, fmt.Errorf("loading %s: %w", l.Kubeconfig(), err)
	}
	// The server protects itself (priority and fairness); a client's own limit would only distort figures.
	cp.config.QPS = -1
	check, err := httpsCheck(cp.config, "https://"+cp.api+"/readyz")
	if err != nil {
		return nil, err
	}
	return cp, waitFor(ctx, "the API server", check, p)
}

func (l *Lab) startControllerManager(ctx context.Context, bin string, cp *controlPlane) error {
	keys := cp.pki
	return l.startComponent(ctx, bin, cp, component{
		name: "kube-controller-manager", kubeconfig: l.path("controller-manager.kubeconfig"), port: 10257,
		args: append([]string{
			"--use-service-account-credentials", "--service-account-private-key-file=" + keys.serviceAccountKey,
			"--root-ca-file=" + keys.cluster.certFile(), // what kube-root-ca.crt holds, and pods trust
			"--cluster-signing-cert-file=" + keys.cluster.certFile(), "--cluster-signing-key-file=" + keys.cluster.keyFile(),
			"--node-monitor-grace-period=" + l.opts.NodeMonitorGracePeriod.String(), "--node-monitor-period=1s",
		}, l.opts.ControllerManagerArgs...),
	})
}

func (l *Lab) startScheduler(ctx context.Context, bin string, cp *controlPlane) error {
	return l.startComponent(ctx, bin, cp, component{
		name: "kube-scheduler", kubeconfig: l.path("scheduler.kubeconfig"), port: 10259, args: l.opts.SchedulerArgs,
	})
}

type component struct {
	name, kubeconfig string
	port             int
	args             []string
}

func (l *Lab) startComponent(ctx context.Context, bin string, cp *controlPlane, c component) error {
	port, err := l.net.port(hostAPI, c.port)
	if err != nil {
		return err
	}
	host := l.net.host(hostAPI)
	args := []string{
		"--kubeconfig=" + c.kubeconfig, "--authentication-kubeconfig=" + c.kubeconfig, "--authorization-kubeconfig=" + c.kubeconfig,
		"--bind-address=" + host, "--secure-port=" + strconv.Itoa(port), "--leader-elect=false",
		"--tls-cert-file=" + cp.pki.cluster.file("components", ".crt"), "--tls-private-key-file=" + cp.pki.cluster.file("components", ".key"),
		"--kube-api-qps=" + strconv.Itoa(l.opts.ComponentQPS), "--kube-api-burst=" + strconv.Itoa(2*l.opts.ComponentQPS),
	}
	p, err := l.run(command{name: c.name, path: filepath.Join(bin, c.name), args: append(args, c.args...)})
	if err != nil {
		return err
	}
	address := "https://" + hostPort(host, port)
	l.setMetrics(c.name, address+"/metrics")
	check, err := httpsCheck(cp.config, address+"/healthz")
	if err != nil {
		return err
	}
	return waitFor(ctx, c.name, check, p)
}

// httpsCheck returns a function that succeeds when url answers 200 to the given credentials.
func httpsCheck(config *rest.Config, url string) (func(context.Context) error, error) {
	client, err := httpsClient(config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %s", url, response.Status)
		}
		return nil
	}, nil
}

// httpsClient is a client with the credentials of config and a short timeout.
func httpsClient(config *rest.Config) (*http.Client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		return nil, fmt.Errorf("no certificate of an authority in the client configuration of %s", config.Host)
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		return nil, fmt.Errorf("loading the client certificate for %s: %w", config.Host, err)
	}
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil },
			TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		},
	}, nil
}

// writeKubeconfig writes a kubeconfig with everything in it, so that it can be copied elsewhere.
func (cp *controlPlane) writeKubeconfig(file, user string) error {
	var content [3][]byte
	for i, name := range []string{cp.pki.cluster.certFile(), cp.pki.cluster.file(user, ".crt"), cp.pki.cluster.file(user, ".key")} {
		var err error
		if content[i], err = os.ReadFile(name); err != nil {
			return fmt.Errorf("reading a certificate for %s: %w", file, err)
		}
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: "https://" + cp.api, CertificateAuthorityData: content[0]}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: content[1], ClientKeyData: content[2]}
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: user}
	config.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return nil
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
