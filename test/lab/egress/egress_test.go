package egress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const clusterIP = "10.96.0.7"

// fixture is a cluster with one Service of two endpoints, of which the second is not ready.
func fixture(t *testing.T, port int32) (*fake.Clientset, *Services) {
	t.Helper()
	name, yes, no := "https", true, false
	client := fake.NewClientset(
		&corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "hook"},
			Spec: corev1.ServiceSpec{
				ClusterIP: clusterIP, ClusterIPs: []string{clusterIP},
				Ports: []corev1.ServicePort{{Name: "https", Port: 443}, {Name: "metrics", Port: 9090}},
			},
		},
		&discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "hook-1", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}},
			Ports:      []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
			Endpoints: []discoveryv1.Endpoint{
				{Addresses: []string{"203.0.113.9"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}},
				{Addresses: []string{"203.0.113.8"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
			},
		},
	)
	services, err := NewServices(client, Mapping{Published: netip.MustParsePrefix("203.0.113.0/24"), Local: netip.MustParsePrefix("127.0.0.0/24")})
	if err != nil {
		t.Fatal(err)
	}
	return client, services
}

func TestResolve(t *testing.T) {
	t.Parallel()
	_, services := fixture(t, 8443)
	if err := services.Start(t.Context(), New(services, t.Logf)); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		address string
		want    string // target, or part of the error
	}{
		"a Service's port leads to the ready endpoint":    {clusterIP + ":443", "127.0.0.9:8443"},
		"a published address leads to this machine":       {"203.0.113.2:10250", "127.0.0.2:10250"},
		"a port without endpoints is refused":             {clusterIP + ":9090", "no ready endpoint"},
		"a port that the Service lacks is refused":        {clusterIP + ":80", "has no port 80"},
		"an address of another network is never called":   {"192.0.2.1:443", "neither a Service's cluster IP"},
		"an address of this machine is no way around it":  {"127.0.0.1:22", "neither a Service's cluster IP"},
		"a published address of IPv6 notation is refused": {"[2001:db8::1]:443", "neither a Service's cluster IP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			route, err := services.Resolve(netip.MustParseAddrPort(tc.address))
			got := route.Target.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestTunnelIsCutWithItsEndpoint connects as the API server does, and then takes the endpoint away.
func TestTunnelIsCutWithItsEndpoint(t *testing.T) {
	t.Parallel()
	echo, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		conn, err := echo.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
		}
	}()
	client, services := fixture(t, int32(echo.Addr().(*net.TCPAddr).Port))
	proxy := New(services, t.Logf)
	if err := services.Start(t.Context(), proxy); err != nil {
		t.Fatal(err)
	}
	conn, reader := connect(t, proxy, clusterIP+":443")
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if line, err := reader.ReadString('\n'); err != nil || line != "hello\n" {
		t.Fatalf("got %q back (%v)", line, err)
	}

	if err := client.DiscoveryV1().EndpointSlices("ns").Delete(t.Context(), "hook-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.ReadByte(); err == nil {
		t.Error("the tunnel outlived its endpoint")
	}
}

func TestRefusalIsAnswered(t *testing.T) {
	t.Parallel()
	_, services := fixture(t, 1)
	proxy := New(services, t.Logf)
	if err := services.Start(t.Context(), proxy); err != nil {
		t.Fatal(err)
	}
	request := &http.Request{Method: http.MethodConnect, RequestURI: clusterIP + ":9090"}
	if _, _, status, err := proxy.connect(t.Context(), request); err == nil || status != http.StatusServiceUnavailable {
		t.Errorf("status %d, error %v; want 503", status, err)
	}
}

// connect opens a tunnel to address through a proxy that listens for it.
func connect(t *testing.T, proxy *Proxy, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	// The Host header is what the API server sends, whatever it asks for.
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", address); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("status %s", response.Status)
	}
	return conn, reader
}
