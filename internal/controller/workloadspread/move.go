package workloadspread

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/spillway-project/spillway/api/v1alpha1"
	"github.com/spillway-project/spillway/internal/spread"
)

// move deletes pods that cannot start, so that their controller makes them anew elsewhere. Each goes only as it was
// seen: one that got a node, or started, meanwhile stays.
func (p *pass) move(ctx context.Context, a spread.Adaptation) {
	p.wake(a.Next)
	moved := make(map[string][]string) // by subset
	for _, pod := range a.Move {
		err := p.Writer.Delete(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: p.key.Namespace, Name: pod.Name}},
			client.Preconditions{UID: &pod.UID, ResourceVersion: &pod.ResourceVersion})
		switch {
		case err == nil:
			moved[pod.Subset] = append(moved[pod.Subset], pod.Name)
		case apierrors.IsConflict(err), apierrors.IsNotFound(err): // it changed, or is gone: look again
		default:
			p.warn(p.ws, v1alpha1.ReasonDeletePodFailed, "Pod %s cannot start in subset %q, and cannot be deleted to be made anew elsewhere: %v",
				pod.Name, pod.Subset, err)
		}
	}
	for subset, names := range moved {
		p.Metrics.Rescheduled(p.key, subset, len(names))
		p.tell(p.ws, v1alpha1.ReasonPodRescheduled, "%s cannot start in subset %q: deleted, to be made anew elsewhere", list("Pod", names), subset)
	}
}

// list names a few of many: "Pods a, b, c and 4 more".
func list(noun string, names []string) string {
	const few = 3
	if len(names) == 1 {
		return noun + " " + names[0]
	}
	text := noun + "s " + strings.Join(names[:min(few, len(names))], ", ")
	if more := len(names) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
