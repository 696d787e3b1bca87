package ledger

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"
)

func TestClaimsEndByTheLeadersClock(t *testing.T) {
	now := testclock.NewFakePassiveClock(time.Unix(1000, 0))
	c := &Expiry{Clock: now, Life: 70 * time.Second}
	key := types.NamespacedName{Namespace: "ns", Name: "ws"}
	first, second := Outstanding{"v1", "a"}, Outstanding{"v1", "b"}

	if due, next := c.due(key, []Outstanding{first}); len(due) != 0 || next != 70*time.Second {
		t.Errorf("seen now: due %v, next %s", due, next)
	}
	now.SetTime(time.Unix(1030, 0))
	if due, next := c.due(key, []Outstanding{first, second}); len(due) != 0 || next != 40*time.Second {
		t.Errorf("30 s later: due %v, next %s", due, next)
	}
	now.SetTime(time.Unix(1070, 0))
	if due, next := c.due(key, []Outstanding{first, second}); len(due) != 1 || due[0] != first || next != 30*time.Second {
		t.Errorf("70 s later: due %v, next %s", due, next)
	}
	c.Forget(key)
	if due, _ := c.due(key, []Outstanding{first}); len(due) != 0 {
		t.Error("a new leader starts over")
	}
}
