package report

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

// testPlan cuts kernels into shards.
func testPlan(shards, kernels int) *PlanFile {
	p := &PlanFile{Schema: PlanSchema, Tool: "v1", Algorithm: "rendezvous", Arch: "amd64"}
	for i := range kernels {
		id := fmt.Sprintf("debian/6.1.%03d", i)
		p.Kernels = append(p.Kernels, PlanKernel{ID: id, Digest: testDigest(id)})
	}
	p.List = ListDigest(p.Kernels)
	for i := range shards {
		ps := PlanShard{Shard: i + 1, Kernels: []string{}}
		for j := i; j < kernels; j += shards {
			ps.Kernels = append(ps.Kernels, p.Kernels[j].ID)
		}
		p.Shards = append(p.Shards, ps)
	}
	return p
}

func testDigest(id string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(id))) }

// A plan may take results as old as the flag allows.
func TestPlanOfLongReuse(t *testing.T) {
	p := Plan{List: "x", Algorithm: "single", Shard: 1, Shards: 1, Attempt: 1, Reuse: maxReuse}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	if p.Reuse++; p.Check() == nil {
		t.Error("older ones are taken")
	}
}
