// Package egress is the service network of a lab: the proxy through which an API server reaches
// webhooks, aggregated APIs and kubelets.
//
// The API server asks it, by HTTP CONNECT on a Unix socket, for a Service's cluster IP and port or
// for a pod's or node's published address. The proxy chooses a ready endpoint of the Service, as
// kube-proxy would, and turns the published address into the loopback address of the process behind
// it. Everything else is refused: a lab opens no connection that leaves the machine.
package egress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Resolver says where a connection to an address of the cluster really goes.
type Resolver interface {
	// Resolve returns the loopback address for an address of the cluster and the published
	// address of the endpoint that was chosen.
	Resolve(netip.AddrPort) (Route, error)
}

// Route is where one connection goes.
type Route struct {
	// Target is the loopback address to connect to.
	Target netip.AddrPort
	// Endpoint is the published address that Target stands for.
	Endpoint netip.Addr
	// Service is namespace/name of the Service that was asked for; empty when the endpoint itself was.
	Service string
}

// Proxy serves CONNECT requests.
type Proxy struct {
	resolver Resolver
	logf     func(format string, args ...any)

	mu      sync.Mutex
	tunnels map[*tunnel]struct{}
}

// New returns a proxy that asks resolver for every connection and reports failed ones to logf.
func New(resolver Resolver, logf func(format string, args ...any)) *Proxy {
	return &Proxy{resolver: resolver, logf: logf, tunnels: map[*tunnel]struct{}{}}
}

const dialTimeout = 5 * time.Second

// tunnel is one connection through the proxy: a client side and a side to the process.
type tunnel struct {
	route          Route
	client, server net.Conn
}

func (t *tunnel) close() { _ = errors.Join(t.client.Close(), t.server.Close()) }

// Serve accepts connections on listener until ctx ends, then cuts every tunnel.
func (p *Proxy) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	defer p.Cut(func(Route) bool { return true })
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting a connection of the API server: %w", err)
		}
		go p.handle(ctx, conn)
	}
}

// Cut closes the tunnels whose route is chosen. The API server keeps connections for reuse, so
// without this its next call would go to an endpoint that the Service no longer has.
func (p *Proxy) Cut(chosen func(Route) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for t := range p.tunnels {
		if chosen(t.route) {
			t.close()
		}
	}
}

func (p *Proxy) handle(ctx context.Context, client net.Conn) {
	defer client.Close()
	reader := bufio.NewReader(client)
	request, err := http.ReadRequest(reader)
	if err != nil {
		p.logf("reading a request: %v", err)
		return
	}
	server, route, status, err := p.connect(ctx, request)
	if err != nil {
		p.logf("%s %s: %v", request.Method, request.RequestURI, err)
		_, _ = fmt.Fprintf(client, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%v\n", status, http.StatusText(status), err)
		return
	}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		_ = server.Close()
		return
	}
	p.splice(&tunnel{route: route, client: client, server: server}, reader)
}

// connect opens the connection that request asks for, or says which status to answer and why.
func (p *Proxy) connect(ctx context.Context, request *http.Request) (net.Conn, Route, int, error) {
	if request.Method != http.MethodConnect {
		return nil, Route{}, http.StatusMethodNotAllowed, errors.New("only CONNECT is served")
	}
	// The address is in the request line; the Host header always says 127.0.0.1.
	address, err := netip.ParseAddrPort(request.RequestURI)
	if err != nil {
		return nil, Route{}, http.StatusBadRequest, fmt.Errorf("parsing the address: %w", err)
	}
	route, err := p.resolver.Resolve(address)
	if err != nil {
		return nil, Route{}, http.StatusServiceUnavailable, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.DialContext(ctx, "tcp", route.Target.String())
	if err != nil {
		return nil, Route{}, http.StatusBadGateway, fmt.Errorf("connecting to endpoint %s: %w", route.Endpoint, err)
	}
	return server, route, 0, nil
}

// splice copies in both directions until either side ends, then closes both: half a tunnel is of
// no use to the API server, which would put it back into its pool.
func (p *Proxy) splice(t *tunnel, fromClient io.Reader) {
	p.mu.Lock()
	p.tunnels[t] = struct{}{}
	p.mu.Unlock()

	var both sync.WaitGroup
	for to, from := range map[net.Conn]io.Reader{t.server: fromClient, t.client: t.server} {
		both.Go(func() {
			defer t.close()
			_, _ = io.Copy(to, from) // how a tunnel ends is the business of its two ends
		})
	}
	both.Wait()

	p.mu.Lock()
	delete(p.tunnels, t)
	p.mu.Unlock()
}
