package system

import (
	"errors"
	"net/netip"
	"sync"
)

// addresses hands out the last bytes of pods' addresses. A freed one is used again as late as
// possible, so that nobody takes a new pod for an old one.
type addresses struct {
	mu   sync.Mutex
	free []byte
}

func newAddresses(first, last byte) *addresses {
	a := &addresses{}
	for b := int(first); b <= int(last); b++ {
		a.free = append(a.free, byte(b))
	}
	return a
}

func (a *addresses) take() (byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		return 0, errors.New("the node has no free pod address")
	}
	b := a.free[0]
	a.free = a.free[1:]
	return b, nil
}

func (a *addresses) release(b byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, b)
}

// host is the address in prefix with the given last byte.
func host(prefix netip.Prefix, last byte) string {
	b := prefix.Addr().As4()
	b[3] = last
	return netip.AddrFrom4(b).String()
}
