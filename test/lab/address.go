package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
)

// Every lab has a /24 of the loopback network for itself, and its pods' addresses are the same
// last byte in a documentation range, because EndpointSlices refuse loopback addresses. So the
// egress proxy maps one to the other without asking anybody, and two labs never share an address.
const (
	podRange       = "203.0.113.0/24" // RFC 5737: nobody's; nothing is ever sent there
	ownPodRange    = "198.18.0.0/16"  // RFC 2544: pods of kwok nodes
	serviceRange   = "10.96.0.0/16"   // cluster IPs; only the egress proxy knows what they mean
	serviceAPIAddr = "10.96.0.1"      // the first one is the API server's own Service
	hostAPI        = 1                // last byte: control plane
	hostSystemNode = 2                // last byte: the system node's kubelet
	claimPrefix    = "@spillway-lab/" // abstract socket: vanishes with the process that holds it
)

// network is the lab's share of the loopback network.
type network struct {
	prefix netip.Prefix
	claim  net.Listener
}

// claimNetwork takes a /24 that no other lab on this machine has.
func claimNetwork() (*network, error) {
	const first, last, tries = 64, 126, 100
	for range tries {
		second, third := byte(first+rand.IntN(last-first+1)), byte(rand.IntN(256))
		prefix := netip.PrefixFrom(netip.AddrFrom4([4]byte{127, second, third, 0}), 24)
		// Abstract sockets belong to the network namespace, as loopback addresses do.
		claim, err := net.Listen("unix", claimPrefix+prefix.Addr().String())
		if err != nil {
			continue
		}
		return &network{prefix: prefix, claim: claim}, nil
	}
	return nil, fmt.Errorf("no free part of the loopback network found in %d tries", tries)
}

// host is the loopback address with the given last byte.
func (n *network) host(last byte) string { return withLast(n.prefix, last).String() }

// published is the address under which the API knows that host.
func published(last byte) string { return withLast(netip.MustParsePrefix(podRange), last).String() }

func withLast(prefix netip.Prefix, last byte) netip.Addr {
	b := prefix.Addr().As4()
	b[3] = last
	return netip.AddrFrom4(b)
}

// port returns the preferred port of host when it is free, else any free one: something on this
// machine may listen on that port of every address.
func (n *network) port(last byte, preferred int) (int, error) {
	for _, port := range []int{preferred, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort(n.host(last), strconv.Itoa(port)))
		if err != nil {
			continue
		}
		free := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("releasing port %d of %s: %w", free, n.host(last), err)
		}
		return free, nil
	}
	return 0, fmt.Errorf("no free port on %s", n.host(last))
}

func (n *network) release() { _ = n.claim.Close() }
