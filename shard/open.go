package shard

import (
	"context"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// downloads is how many kernels are fetched at a time, and how many wait
// fetched for the VMs.
const downloads = 4

// opened is a kernel in the cache, or the reason why it is not.
type opened struct {
	index int // in the plan
	entry plan.Entry
	image *kernel.Image
	err   error
	took  time.Duration

	history []report.Attempt // tries that failed before
}

// openAll opens the kernels in about the given order of their indices, each as soon as there is
// room for it: one that takes long holds up no other. The channel is closed
// when all were received, or ctx has ended and nothing is fetched any more.
func (r *Runner) openAll(ctx context.Context, entries []plan.Entry, order []int) <-chan opened {
	next := make(chan int)
	out := make(chan opened)
	go func() {
		defer close(next)
		for _, i := range order {
			select {
			case <-ctx.Done():
				return
			case next <- i:
			}
		}
	}()
	var fetchers sync.WaitGroup
	for range downloads {
		fetchers.Go(func() {
			for i := range next {
				o := opened{index: i, entry: entries[i]}
				r.Report(Event{ID: o.entry.ID(), State: Fetching})
				start := time.Now()
				o.image, o.history, o.err = r.fetch(ctx, o.entry)
				o.took = time.Since(start)
				select {
				case <-ctx.Done():
					return
				case out <- o:
				}
			}
		})
	}
	go func() {
		fetchers.Wait()
		close(out)
	}()
	return out
}
