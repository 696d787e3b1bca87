package workloadspread

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
	"github.com/spillway-project/spillway/internal/state"
)

// repair writes back what a virtual kubelet took off pods: three times for each pod, then it is only told. A provider
// that overwrites with every status must not be fought for ever, and counting does not depend on it.
func (p *pass) repair(ctx context.Context) error {
	lost := p.Pods.Lost(p.key)
	var given []string
	var failed error
	repaired := 0
	for _, l := range lost {
		switch may, wait, last := p.patience.ask(p.key, l.Pod.UID, p.Clock.Now()); {
		case last:
			given = append(given, l.Pod.Name)
		case wait > 0:
			p.wake(wait)
		case may && repaired == repairsMost:
			p.patience.undo(p.key, l.Pod.UID)
			p.wake(recostPause)
		case may:
			if err := p.writeBack(ctx, l); err != nil {
				failed = fmt.Errorf("write back what was taken off pod %s/%s: %w", p.key.Namespace, l.Pod.Name, err)
				continue
			}
			repaired++
			p.wake(recostPause)
		}
	}
	p.Metrics.Repaired(p.key, repaired, len(given))
	if len(given) > 0 {
		p.warn(p.ws, v1alpha1.ReasonMetadataOverwritten, "%s: labels or annotations were overwritten after they had been written back %d times, and are left so. "+
			"Counts stay right, but the order of a scale-in may not; have the provider of the virtual node keep them", list("Pod", given), len(repairDelays))
	}
	return failed
}

// writeBack adds what is missing to the pod as it was seen. What it has by now under these keys stays.
func (p *pass) writeBack(ctx context.Context, l state.Lost) error {
	metadata := map[string]any{"uid": l.Pod.UID, "resourceVersion": l.Pod.ResourceVersion}
	// An empty map must not be written: null would remove all there is.
	if len(l.Annotations) > 0 {
		metadata["annotations"] = l.Annotations
	}
	if len(l.Labels) > 0 {
		metadata["labels"] = l.Labels
	}
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return fmt.Errorf("make the patch: %w", err)
	}
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.key.Namespace, Name: l.Pod.Name}}
	err = p.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, body))
	switch {
	case apierrors.IsConflict(err):
		p.patience.undo(p.key, l.Pod.UID) // it has changed meanwhile: look again
		return nil
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		p.patience.undo(p.key, l.Pod.UID)
	}
	return err //nolint:wrapcheck // wrapped by the caller
}

// repairsMost bounds the pods that one pass repairs, so that it ends in time.
const repairsMost = 200

// repairDelays are the times to wait before each repair of a pod.
var repairDelays = [...]time.Duration{0, 5 * time.Second, 30 * time.Second}

// patience remembers how often pods were repaired, and costs that were written in vain. The zero value is ready for use.
type patience struct {
	mu  sync.Mutex
	all map[types.NamespacedName]map[types.UID]*tries
}

type tries struct {
	n    int
	at   time.Time
	told bool
	// cost is the deletion cost that was written last, and costs how often the same one was.
	cost  string
	costs int
}

func (t *patience) of(key types.NamespacedName, pod types.UID) *tries {
	if t.all == nil {
		t.all = make(map[types.NamespacedName]map[types.UID]*tries)
	}
	if t.all[key] == nil {
		t.all[key] = make(map[types.UID]*tries)
	}
	if t.all[key][pod] == nil {
		t.all[key][pod] = &tries{}
	}
	return t.all[key][pod]
}

// ask reports whether a pod may be repaired now, which counts as done; else how long to wait, or that it was tried often
// enough, which is said once.
func (t *patience) ask(key types.NamespacedName, pod types.UID, now time.Time) (may bool, wait time.Duration, last bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.of(key, pod)
	if have.n == len(repairDelays) {
		last = !have.told
		have.told = true
		return false, 0, last
	}
	if wait = repairDelays[have.n] - now.Sub(have.at); have.n > 0 && wait > 0 {
		return false, wait, false
	}
	have.n++
	have.at = now
	return true, 0, false
}

// undo takes back that a pod was repaired: it was not.
func (t *patience) undo(key types.NamespacedName, pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.of(key, pod)
	have.n, have.at = max(have.n-1, 0), time.Time{}
}

// cost reports whether it makes sense to write a deletion cost: one that was written before, and is not there any more,
// is overwritten by somebody.
func (t *patience) cost(key types.NamespacedName, pod types.UID, value string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.of(key, pod)
	if have.cost != value {
		have.cost, have.costs = value, 0
	}
	have.costs = min(have.costs+1, len(repairDelays)+1)
	return have.costs <= len(repairDelays)
}

// undoCost takes back that a cost was written: it was not.
func (t *patience) undoCost(key types.NamespacedName, pod types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of(key, pod).costs--
}

// keep forgets the pods of a WorkloadSpread that are gone.
func (t *patience) keep(key types.NamespacedName, v spread.View) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.all[key]) == 0 {
		return
	}
	kept := make(map[types.UID]*tries)
	for _, pod := range v.Pods {
		if have := t.all[key][pod.UID]; have != nil && pod.Active {
			kept[pod.UID] = have
		}
	}
	t.all[key] = kept
}

func (t *patience) forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.all, key)
}
