package workloadspread

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/resolve"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// annotationIgnoreMetadata on a WorkloadSpread keeps the metadata of subsets' patches off pods that
// run already (OpenKruise).
const annotationIgnoreMetadata = "workloadspread.kruise.io/ignore-patch-existing-pods-metadata"

// adopt gives the pods that run already an assignment, when the spec is new or has changed, and when
// there are such pods that were not looked at yet. It works on copies, each under the resource version it
// was read at; a pod that changes meanwhile is left to the retry.
func (p *pass) adopt(ctx context.Context) error {
	strays, err := p.unjudged(ctx)
	if err != nil || (len(strays) == 0 && p.ws.Status.ObservedGeneration == p.ws.Generation) {
		return err
	}
	adoptions, err := p.Pods.Adoptions(ctx, p.ws)
	if err != nil {
		return fmt.Errorf("look for pods to adopt: %w", err)
	}
	metadata := !strings.EqualFold(p.ws.Annotations[annotationIgnoreMetadata], "true")
	adopted := make(map[string][]string) // by subset
	for some := range slices.Chunk(adoptions, adoptAtOnce) {
		if err := p.adoptSome(ctx, some, metadata, adopted); err != nil {
			return err
		}
	}
	p.strays.judge(p.key, p.ws.Generation, strays)
	for subset, names := range adopted {
		p.tell(p.ws, v1alpha1.ReasonPodsAdopted, "%s ran already: counted in subset %q", list("Pod", names), subset)
	}
	return nil
}

// adoptAtOnce is how many pods are adopted with one write of the status.
const adoptAtOnce = 500

// adoptSome enters the claims of some pods, then records them. The claims of pods that are gone are given
// back.
func (p *pass) adoptSome(ctx context.Context, some []resolve.Adoption, metadata bool, adopted map[string][]string) error {
	claims := make([]ledger.Adopted, 0, len(some))
	for _, a := range some {
		if a.Plan.Subset != nil {
			_, facts := state.FromPod(a.Pod)
			claims = append(claims, ledger.Adopted{Version: facts.Version, Subset: a.Plan.Record.Subset, Token: spread.Token(a.Plan.Record.UID)})
		}
	}
	if len(claims) > 0 {
		if err := p.Ledger.Adopt(ctx, p.ws, claims); err != nil {
			return fmt.Errorf("enter claims for pods to adopt: %w", err)
		}
	}
	unused := make(map[string][]spread.Token)
	var failed error
	for _, a := range some {
		recorded, err := p.record(ctx, a, metadata)
		if failed == nil {
			failed = err
		}
		_, facts := state.FromPod(a.Pod)
		switch {
		case a.Plan.Subset == nil || err != nil: // it may have been recorded all the same: the claim stays
		case recorded:
			adopted[a.Plan.Subset.Name] = append(adopted[a.Plan.Subset.Name], a.Pod.Name)
		default:
			unused[facts.Version] = append(unused[facts.Version], spread.Token(a.Plan.Record.UID))
		}
	}
	if len(unused) > 0 {
		if err := p.Ledger.Expire(ctx, p.ws, unused); err != nil {
			return errors.Join(failed, fmt.Errorf("give back the claims of pods that are gone: %w", err))
		}
	}
	return failed
}

// record writes an adoption onto its pod, and reports whether the pod is still there.
func (p *pass) record(ctx context.Context, a resolve.Adoption, metadata bool) (bool, error) {
	pod := a.Pod.DeepCopy()
	if err := placement.Adopt(pod, a.Plan, metadata); err != nil {
		return false, fmt.Errorf("adopt pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	patch := client.MergeFromWithOptions(a.Pod, client.MergeFromWithOptimisticLock{})
	err := p.Writer.Patch(ctx, pod, patch)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("adopt pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return err == nil, nil
}

// unjudged returns the strays of the target that were not looked at under this spec.
func (p *pass) unjudged(ctx context.Context) ([]state.Stray, error) {
	var out []state.Stray
	ours := make(map[types.UID]bool) // by owner
	for _, s := range p.Pods.Strays(p.key.Namespace) {
		if p.strays.known(p.key, p.ws.Generation, s.UID) {
			continue
		}
		is, asked := ours[s.Owner.UID]
		if !asked {
			var err error
			if is, err = p.Pods.Resolver.Belongs(ctx, p.ws, s); err != nil {
				return nil, fmt.Errorf("find the owner of a pod without an assignment: %w", err)
			}
			ours[s.Owner.UID] = is
		}
		if is {
			out = append(out, s)
		}
	}
	return out, nil
}

// judgements remembers the strays that were looked at, by WorkloadSpread and generation, so that one
// which fits no subset is not looked at again and again. The zero value is ready for use.
type judgements struct {
	mu  sync.Mutex
	all map[types.NamespacedName]judged
}

type judged struct {
	generation int64
	pods       map[types.UID]struct{}
}

func (j *judgements) known(key types.NamespacedName, generation int64, pod types.UID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	have := j.all[key]
	_, ok := have.pods[pod]
	return ok && have.generation == generation
}

func (j *judgements) judge(key types.NamespacedName, generation int64, strays []state.Stray) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.all == nil {
		j.all = make(map[types.NamespacedName]judged)
	}
	have := j.all[key]
	if have.generation != generation || have.pods == nil {
		have = judged{generation: generation, pods: make(map[types.UID]struct{})}
	}
	for _, s := range strays {
		have.pods[s.UID] = struct{}{}
	}
	j.all[key] = have
}

func (j *judgements) forget(key types.NamespacedName) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.all, key)
}
