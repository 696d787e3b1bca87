package e2e

import (
	"testing"
)

func TestAPercentageKeepsItsRatioBothWays(t *testing.T) {
	f := newFixture(t)
	f.create(workloadSpread("web", "web", subset{"own", "50%"}, subset{"virtual", ""}))
	f.create(deployment("web", 10))
	f.settled("web", "web", map[string]int{"own": 5, "virtual": 5})
	f.scale("web", 4)
	f.settled("web", "web", map[string]int{"own": 2, "virtual": 2})
	f.scale("web", 12)
	f.settled("web", "web", map[string]int{"own": 6, "virtual": 6})
}
