package egress

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// Mapping turns published addresses into loopback addresses: same last byte, other network.
type Mapping struct {
	// Published is the network that the API knows.
	Published netip.Prefix
	// Local is the lab's own part of the loopback network.
	Local netip.Prefix
}

// local returns the loopback address behind a published one.
func (m Mapping) local(published netip.Addr) (netip.Addr, bool) {
	if !m.Published.Contains(published) {
		return netip.Addr{}, false
	}
	b := m.Local.Addr().As4()
	b[3] = published.As4()[3]
	return netip.AddrFrom4(b), true
}

// Services resolves cluster IPs from watched Services and EndpointSlices.
type Services struct {
	mapping  Mapping
	services cache.SharedIndexInformer
	slices   cache.SharedIndexInformer
}

const (
	byClusterIP = "clusterIP"
	byService   = "service"
)

// NewServices returns a resolver for the cluster behind client. It knows nothing before Start.
func NewServices(client kubernetes.Interface, mapping Mapping) (*Services, error) {
	factory := informers.NewSharedInformerFactory(client, 0)
	s := &Services{
		mapping:  mapping,
		services: factory.Core().V1().Services().Informer(),
		slices:   factory.Discovery().V1().EndpointSlices().Informer(),
	}
	return s, errors.Join(
		s.services.AddIndexers(cache.Indexers{byClusterIP: func(obj any) ([]string, error) {
			return obj.(*corev1.Service).Spec.ClusterIPs, nil
		}}),
		s.slices.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
			return []string{serviceOf(obj.(*discoveryv1.EndpointSlice))}, nil
		}}),
	)
}

// Start watches until ctx ends; it returns when the first lists have arrived. Tunnels of proxy to
// endpoints that a Service loses are cut.
func (s *Services) Start(ctx context.Context, proxy *Proxy) error {
	changed := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			s.cutLost(proxy, serviceOf(slice))
		}
	}
	_, err := s.slices.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, obj any) { changed(obj) },
		DeleteFunc: changed,
	})
	if err != nil {
		return fmt.Errorf("watching EndpointSlices: %w", err)
	}
	go s.services.RunWithContext(ctx)
	go s.slices.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), s.services.HasSynced, s.slices.HasSynced) {
		return fmt.Errorf("listing Services and EndpointSlices: %w", context.Cause(ctx))
	}
	return nil
}

func serviceOf(slice *discoveryv1.EndpointSlice) string {
	return slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
}

// Resolve implements Resolver.
func (s *Services) Resolve(address netip.AddrPort) (Route, error) {
	if local, ok := s.mapping.local(address.Addr()); ok {
		return Route{Target: netip.AddrPortFrom(local, address.Port()), Endpoint: address.Addr()}, nil
	}
	found, err := s.services.GetIndexer().ByIndex(byClusterIP, address.Addr().String())
	if err != nil {
		return Route{}, fmt.Errorf("looking up cluster IP %s: %w", address.Addr(), err)
	}
	if len(found) == 0 {
		return Route{}, fmt.Errorf("%s is neither a Service's cluster IP nor a published address", address.Addr())
	}
	service := found[0].(*corev1.Service)
	name := service.Namespace + "/" + service.Name
	for _, port := range service.Spec.Ports {
		if port.Port == int32(address.Port()) {
			return s.choose(name, port.Name)
		}
	}
	return Route{}, fmt.Errorf("service %s has no port %d", name, address.Port())
}

// choose picks one of the ready endpoints at random.
func (s *Services) choose(service, port string) (Route, error) {
	var routes []Route
	var unmapped error
	err := s.each(service, func(slice *discoveryv1.EndpointSlice, endpoint discoveryv1.Endpoint, address netip.Addr) {
		if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
			return
		}
		local, ok := s.mapping.local(address)
		if !ok {
			unmapped = fmt.Errorf("endpoint %s of service %s has no process behind it", address, service)
			return
		}
		for _, p := range slice.Ports {
			if p.Port != nil && (p.Name == nil && port == "" || p.Name != nil && *p.Name == port) {
				routes = append(routes, Route{Target: netip.AddrPortFrom(local, uint16(*p.Port)), Endpoint: address, Service: service})
			}
		}
	})
	if err != nil {
		return Route{}, err
	}
	if len(routes) == 0 {
		return Route{}, errors.Join(fmt.Errorf("no ready endpoint of service %s for port %q", service, port), unmapped)
	}
	return routes[rand.IntN(len(routes))], nil
}

// each calls visit for every address of every endpoint of service, ready or not.
func (s *Services) each(service string, visit func(*discoveryv1.EndpointSlice, discoveryv1.Endpoint, netip.Addr)) error {
	found, err := s.slices.GetIndexer().ByIndex(byService, service)
	if err != nil {
		return fmt.Errorf("looking up the endpoints of service %s: %w", service, err)
	}
	for _, obj := range found {
		slice := obj.(*discoveryv1.EndpointSlice)
		for _, endpoint := range slice.Endpoints {
			for _, text := range endpoint.Addresses {
				address, err := netip.ParseAddr(text)
				if err != nil {
					return fmt.Errorf("parsing an address of EndpointSlice %s/%s: %w", slice.Namespace, slice.Name, err)
				}
				visit(slice, endpoint, address)
			}
		}
	}
	return nil
}

// cutLost cuts the tunnels of service to endpoints that it no longer has. One that is merely not
// ready keeps them, as with kube-proxy: requests under way may still be answered.
func (s *Services) cutLost(proxy *Proxy, service string) {
	kept := map[netip.Addr]bool{}
	err := s.each(service, func(_ *discoveryv1.EndpointSlice, _ discoveryv1.Endpoint, address netip.Addr) { kept[address] = true })
	if err != nil {
		proxy.logf("cutting tunnels of service %s: %v", service, err)
		return
	}
	proxy.Cut(func(r Route) bool { return r.Service == service && !kept[r.Endpoint] })
}
