package resolve

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	appsv1alpha1 "github.com/openkruise/kruise-api/apps/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/ledger"
	"github.com/spillway-project/spillway/internal/placement"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// Adoption is a running pod without an assignment, and the one it gets.
type Adoption struct {
	Pod *corev1.Pod
	// Plan is what the pod gets. One without a subset is for a pod that fits none: it only gets a cost,
	// by which it goes before all others.
	Plan placement.Plan
	// Claimed: its claim stands in the status that was read.
	Claimed bool
}

// claimsByStem indexes the outstanding claims.
func claimsByStem(ws *appsv1alpha1.WorkloadSpread) map[string]spread.Token {
	all := make(map[string]spread.Token)
	for _, o := range ledger.ClaimsOf(ws) {
		if o.Token.IsOurs() {
			all[string(o.Token[:spread.TokenStem])] = o.Token
		}
	}
	return all
}

// Belongs reports whether the WorkloadSpread's target is among the controllers above a stray pod. Its
// filter is not asked: that needs the pod.
func (r *Resolver) Belongs(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, s state.Stray) (bool, error) {
	return r.above(ctx, ws, s.Namespace, &s.Owner)
}

// Adoptions lists live the pods of the WorkloadSpread's target that run without an assignment, and
// finds each one's subset.
func (p *Pods) Adoptions(ctx context.Context, ws *appsv1alpha1.WorkloadSpread) ([]Adoption, error) {
	selector, err := p.Resolver.Selector(ctx, ws)
	if err != nil || selector == nil {
		return nil, err
	}
	list, err := p.Resolver.listPods(ctx, ws.Namespace, selector)
	if err != nil {
		return nil, err
	}
	return p.adopt(ctx, ws, list)
}

// adopt finds the subsets of the pods in the list that have no assignment, oldest first.
func (p *Pods) adopt(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, list *corev1.PodList) ([]Adoption, error) {
	if p.Resolver.Away != nil {
		if away, err := p.Resolver.Away(ctx, ws.Namespace); err != nil || away {
			return nil, err
		}
	}
	terms, err := spread.ParseTerms(&ws.Spec)
	if err != nil {
		return nil, fmt.Errorf("WorkloadSpread %s/%s: %w", ws.Namespace, ws.Name, err)
	}
	replicas, err := p.Resolver.Replicas(ctx, ws)
	if err != nil {
		return nil, err
	}
	book := spread.Open(terms, &appsv1alpha1.WorkloadSpreadStatus{}, replicas)
	want := types.NamespacedName{Namespace: ws.Namespace, Name: ws.Name}
	view, strays := spread.View{Revision: 1}, []*corev1.Pod{}
	for i := range list.Items {
		switch key, facts := p.Facts(&list.Items[i]); {
		case key == want:
			view.Pods = append(view.Pods, facts)
		case facts.Active:
			strays = append(strays, &list.Items[i])
		}
	}
	book.Recount(view)
	claims := claimsByStem(ws)
	slices.SortFunc(strays, func(a, b *corev1.Pod) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	var out []Adoption
	for _, pod := range strays {
		a, err := p.adoptOne(ctx, ws, terms, book, pod)
		if err != nil {
			return nil, err
		}
		if a != nil {
			if t, claimed := claims[spread.AdoptionStem(pod.UID)]; claimed && a.Plan.Subset != nil {
				a.Claimed, a.Plan.Record.UID = true, string(t)
			}
			out = append(out, *a)
		}
	}
	return out, nil
}

func (p *Pods) adoptOne(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, terms spread.Terms, book *spread.Book, pod *corev1.Pod) (*Adoption, error) {
	if state.OptedOut(pod) {
		return nil, nil //nolint:nilnil // it is to be left alone
	}
	ours, err := p.Resolver.belongs(ctx, ws, pod)
	if err != nil || !ours || pod.Spec.NodeName == "" {
		return nil, err
	}
	var node corev1.Node
	if err := p.Resolver.Cache.Get(ctx, types.NamespacedName{Name: pod.Spec.NodeName}, &node, client.UnsafeDisableDeepCopy); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil //nolint:nilnil // its node is gone, so is its subset
		}
		return nil, fmt.Errorf("read node %s: %w", pod.Spec.NodeName, err)
	}
	_, facts := state.FromPod(pod)
	i, err := p.pin(ctx, ws, pod)
	if err != nil {
		return nil, err
	}
	if i < 0 {
		i = spread.Adopt(pod, &node, ws.Spec.Subsets,
			func(i int) bool { return placement.Unchanged(pod, &ws.Spec.Subsets[i]) },
			func(i int) bool { return book.HasRoom(facts.Version, i) })
	}
	if i < 0 {
		return strayed(pod, facts, terms), nil
	}
	rank, within := book.Take(facts.Version, i)
	cost := terms.Cost(i, rank)
	if !within {
		cost = terms.SurplusCost(i, rank)
	}
	plan := placement.Plan{
		Subset: &ws.Spec.Subsets[i],
		Record: v1alpha1.Record{Name: ws.Name, Subset: terms.Name(i), UID: string(spread.NewToken(spread.AdoptionStem(pod.UID), rank))},
	}
	if facts.Cost.Heeded {
		plan.Cost = &cost
	}
	return &Adoption{Pod: pod, Plan: plan}, nil
}

// belongs reports whether the WorkloadSpread's target is above the pod, and its filter selects it.
func (r *Resolver) belongs(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, pod *corev1.Pod) (bool, error) {
	if ok, err := Selects(ws, pod.Labels); err != nil || !ok {
		return false, err
	}
	return r.above(ctx, ws, pod.Namespace, metav1.GetControllerOfNoCopy(pod))
}

// above reports whether the target is the referenced controller, or one above it.
func (r *Resolver) above(ctx context.Context, ws *appsv1alpha1.WorkloadSpread, namespace string, ref *metav1.OwnerReference) (bool, error) {
	for ref != nil {
		if Targets(ws, groupKind(ref), ref.Name) {
			return true, nil
		}
		next, err := r.parent(ctx, namespace, ref)
		if err != nil {
			return false, err
		}
		ref = next
	}
	return false, nil
}

// strayed is for a pod that fits no subset: it goes first, where its controller heeds the cost.
func strayed(pod *corev1.Pod, facts *spread.Pod, terms spread.Terms) *Adoption {
	cost := terms.StrayCost()
	if !facts.Cost.Heeded || (facts.Cost.Value != "" && !facts.Cost.Ours) || facts.Cost.Value == strconv.Itoa(int(cost)) {
		return nil
	}
	return &Adoption{Pod: pod, Plan: placement.Plan{Cost: &cost}}
}
