package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Prober is a Source whose list may name files that its server no longer has, as
// the lists of suites past their time do.
type Prober interface {
	Source
	// Gone returns, by their digests, the refs of which the server says that a
	// file of theirs is gone. One that it does not answer about is not among
	// them, nor, with local, one that this machine's cache holds.
	Gone(ctx context.Context, refs []Ref, local bool) map[string]bool
}

const (
	goneBatch  = 8 // kernels that are asked for together, and batches at a time
	goneLimit  = time.Minute
	goneSchema = 1
)

// probed is what a server said about the kernels of a list.
type probed struct {
	Schema  int               `json:"schema"`
	Answers map[string]answer `json:"answers"` // by digest
}

type answer struct {
	Gone bool      `json:"gone"`
	At   time.Time `json:"at"`
}

// Probe is the body of [Prober.Gone]. files returns a kernel's files, and ask what
// is known of some: true for gone, false for there. That is believed for as long
// as the list is; for key see [Cache.Remembered].
func Probe[F comparable](ctx context.Context, c *Cache, key string, refs []Ref, local bool, now func() time.Time, files func(Ref) ([]F, error), ask func(context.Context, []F) map[F]bool) map[string]bool {
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(c.dir, "lists", "gone-"+hex.EncodeToString(sum[:])+".json")
	var p probed
	if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, &p) != nil || p.Schema != goneSchema {
		p = probed{} // a damaged file is none
	}
	known := map[string]answer{}
	for digest, a := range p.Answers {
		if age := now().Sub(a.At); age >= 0 && age < ListAge {
			known[digest] = a
		}
	}
	refs = slices.DeleteFunc(slices.Clone(refs), func(r Ref) bool { return local && c.has(r) })
	todo := slices.DeleteFunc(slices.Clone(refs), func(r Ref) bool { _, ok := known[r.Digest]; return ok })
	if len(todo) > 0 {
		ctx, cancel := context.WithTimeout(ctx, goneLimit)
		defer cancel()
		var mu sync.Mutex
		var wg sync.WaitGroup
		slots := make(chan struct{}, goneBatch)
		for batch := range slices.Chunk(todo, goneBatch) {
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				var all []F
				of := make([][]F, len(batch))
				for i, r := range batch {
					of[i], _ = files(r) // Open says why there are none
					all = append(all, of[i]...)
				}
				answers := ask(ctx, all)
				mu.Lock()
				defer mu.Unlock()
				for i, r := range batch {
					isGone := func(f F) bool { return answers[f] }
					notKnown := func(f F) bool { _, ok := answers[f]; return !ok }
					if gone := slices.ContainsFunc(of[i], isGone); gone || len(of[i]) > 0 && !slices.ContainsFunc(of[i], notKnown) {
						known[r.Digest] = answer{gone, now()}
					}
				}
			})
		}
		wg.Wait()
		if b, err := json.Marshal(probed{goneSchema, known}); err == nil {
			_ = writeFile(path, b) // best effort: without it they are asked for again
		}
	}
	gone := map[string]bool{}
	for _, r := range refs {
		if known[r.Digest].Gone {
			gone[r.Digest] = true
		}
	}
	return gone
}

// has says whether the cache holds a kernel. Open checks its bytes.
func (c *Cache) has(ref Ref) bool {
	key, err := DigestHex(ref.Digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(filepath.Join(c.dir, kernelsDir, key, entryFile))
	return err == nil
}
