package shard

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// downloads is how many kernels are fetched at a time, and how many wait
// fetched for the VMs.
const downloads = 4

// fetched is a kernel in the cache, or the reason why it is not.
type fetched struct {
	index int // in the plan
	entry plan.Entry
	image *kernel.Image
	err   error
	took  time.Duration

	history []report.Attempt // tries that failed before
}

// fetchAll fetches the kernels in about the given order of their indices, each
// as soon as there is room for it: one that takes long holds up no other. The
// channel is closed when all were received, or ctx has ended and nothing is
// fetched any more.
func (r *run) fetchAll(ctx context.Context, entries []plan.Entry, order []int) <-chan fetched {
	next := make(chan int)
	out := make(chan fetched)
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
				f := fetched{index: i, entry: entries[i]}
				r.Report(Event{ID: f.entry.ID(), State: Fetching})
				start := time.Now()
				f.image, f.history, f.err = r.fetch(ctx, f.entry)
				f.took = time.Since(start)
				select {
				case <-ctx.Done():
					return
				case out <- f:
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

// fetch opens a kernel, again when what went wrong is not the kernel's fault.
func (r *run) fetch(ctx context.Context, e plan.Entry) (im *kernel.Image, history []report.Attempt, err error) {
	for n := 1; ; n++ {
		im, err = e.Source.Open(ctx, e.Ref)
		if err == nil || ctx.Err() != nil || n > r.Retries || !shouldRefetch(err) {
			return im, history, err
		}
		title := report.ErrorLine(err, 300)
		r.Report(Event{ID: e.ID(), State: Retrying, Reason: title})
		history = append(history, report.Attempt{Attempt: n, Verdict: report.Infra, Cause: "fetch: " + title})
	}
}

// shouldRefetch says whether another try can help: not with what the user has to
// mend, nor with an archive that is broken where it is kept.
func shouldRefetch(err error) bool {
	var usage *kernel.UsageError
	var bad *kernel.BadKernelError
	var digest *kernel.DigestError
	switch {
	case errors.As(err, &digest): // cut short on the way, maybe
		return true
	case errors.As(err, &usage), errors.As(err, &bad), errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false
	}
	return true
}
