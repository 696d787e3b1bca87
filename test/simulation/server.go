package simulation

import (
	"context"
	"errors"
	"strconv"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/spread"
)

var (
	resource = schema.GroupResource{Group: "apps.kruise.io", Resource: "workloadspreads"}
	key      = types.NamespacedName{Namespace: "ns", Name: "ws"}

	errNewer = errors.New("the object has been modified")
)

// server is the API server as one process sees it: the process's own caches, and calls that take time,
// fail, or are carried out although their answer is lost. It implements the ports of the ledger.
type server struct {
	w *World
	p *process
}

// Cached implements ledger.Spreads.
func (s *server) Cached(context.Context, types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	if s.p.ws == nil {
		return nil, apierrors.NewNotFound(resource, key.Name)
	}
	return s.p.ws, nil
}

// Live implements ledger.Spreads.
func (s *server) Live(ctx context.Context, _ types.NamespacedName) (*appsv1alpha1.WorkloadSpread, error) {
	s.w.current.outdated = ""
	ws, err := s.w.ws, s.call(ctx)
	switch {
	case err != nil:
		return nil, err
	case ws == nil:
		return nil, apierrors.NewNotFound(resource, key.Name)
	}
	return ws, nil
}

// call is a read: what it returns was true when it was made. It fails now and then.
func (s *server) call(ctx context.Context) error {
	failed := s.w.faults() && s.w.on[failCalls] && s.w.chance(30)
	s.w.pause()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed:
		s.w.tell("a call fails")
		return apierrors.NewServerTimeout(resource, "get", 1)
	}
	return nil
}

// UpdateStatus implements ledger.Spreads.
func (s *server) UpdateStatus(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (*appsv1alpha1.WorkloadSpread, error) {
	w, a := s.w, s.w.current
	w.pause()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case w.faults() && w.on[failCalls] && w.chance(20):
		w.tell("a write fails")
		return nil, apierrors.NewServerTimeout(resource, "update", 1)
	case w.ws == nil:
		return nil, apierrors.NewNotFound(resource, key.Name)
	case ws.UID != w.ws.UID || ws.ResourceVersion != w.ws.ResourceVersion:
		if a.outdated == ws.ResourceVersion {
			w.violate("a write repeats a version that it was told is outdated")
		}
		a.outdated = ws.ResourceVersion
		w.tell("conflict: writes over %s, the object is at %s", ws.ResourceVersion, w.ws.ResourceVersion)
		return nil, apierrors.NewConflict(resource, key.Name, errNewer)
	}
	w.checkCommit(ws, a)
	stored := *w.ws
	stored.Status = ws.Status
	w.put(&stored)
	if w.tracing {
		w.tell("writes %s", summary(&stored))
	}
	lost := w.faults() && w.on[loseAnswers] && w.chance(8)
	w.pause()
	if lost {
		w.tell("the answer to a write is lost")
		return nil, apierrors.NewTimeoutError("answer lost", 0)
	}
	return &stored, nil
}

// put stores the WorkloadSpread under a new revision; nil deletes it.
func (w *World) put(ws *appsv1alpha1.WorkloadSpread) {
	w.revision++
	if ws != nil {
		ws.ResourceVersion = strconv.FormatUint(w.revision, 10)
	}
	w.ws = ws
	w.wsLog = append(w.wsLog, ws)
}

// View implements ledger.Pods.
func (s *server) View(types.NamespacedName) spread.View { return s.p.view }

// Changed implements ledger.Pods.
func (s *server) Changed(types.NamespacedName) <-chan struct{} { return s.p.changed }

// ListSpread implements ledger.Pods.
func (s *server) ListSpread(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) (spread.View, error) {
	v := spread.View{Revision: s.w.revision}
	for _, p := range s.w.pods {
		if p.Subset != "" {
			v.Pods = append(v.Pods, p.Pod)
		}
	}
	if ws.Status.ObservedGeneration != ws.Generation {
		for _, a := range s.w.adoptions(ws) {
			if !a.claimed {
				v.Pods = append(v.Pods, a.after)
			}
		}
	}
	return v, s.call(ctx)
}

// ListOwner implements ledger.Pods.
func (s *server) ListOwner(ctx context.Context, _ *appsv1alpha1.WorkloadSpread, owner ledger.Owner) (spread.View, error) {
	v := spread.View{Revision: s.w.revision}
	for _, p := range s.w.pods {
		if p.Owner == owner.UID {
			v.Pods = append(v.Pods, p.Pod)
		}
	}
	return v, s.call(ctx)
}

// Gone implements ledger.Pods.
func (s *server) Gone(owner types.UID, since uint64) (n int32, known bool) {
	for _, e := range s.w.podLog[:s.p.podsAt] {
		if e.pod == nil && e.owner == owner && e.revision > since {
			n++
		}
	}
	return n, since >= s.p.began
}

// Replicas implements ledger.Workloads.
func (s *server) Replicas(ctx context.Context, _ *appsv1alpha1.WorkloadSpread) (int32, error) {
	n := s.w.replicas
	for a := s.w.current; a != nil; a = a.parent {
		a.replicas = n // a batch reads beside itself
	}
	return n, s.call(ctx)
}

// Turnover implements ledger.Workloads.
func (s *server) Turnover(context.Context, *appsv1alpha1.WorkloadSpread) (spread.Turnover, error) {
	return spread.Turnover{}, nil
}

// Demand implements ledger.Workloads.
func (s *server) Demand(ctx context.Context, owner ledger.Owner) (ledger.Demand, error) {
	var d ledger.Demand
	for _, set := range s.w.sets {
		if set.uid == owner.UID {
			d = ledger.Demand{Replicas: set.replicas, Generation: set.generation, Settled: set.observed == set.generation}
			if s.w.slowStart {
				d.Written = set.written
			}
		}
	}
	return d, s.call(ctx)
}

// Committed implements ledger.Recorder.
func (s *server) Committed(types.NamespacedName, int, float64, error) {}

// ClaimsEnded implements ledger.Recorder.
func (s *server) ClaimsEnded(_ types.NamespacedName, reason v1alpha1.Reason, n int) {
	if n > 0 && s.w.tracing {
		s.w.tell("%d claims end: %s", n, reason)
	}
}
