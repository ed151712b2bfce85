package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	actionscache "github.com/tonistiigi/go-actions-cache"
	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

const (
	// cacheBudget is the space for the kernels of all shards, in bytes. GitHub
	// keeps 10 GB for a repository and drops what was not used for longest, so
	// there is room for two lists and other caches.
	cacheBudget = 4 << 30
	maxPacked   = 2 << 30 // bytes of one kernel
	transfers   = 4       // at a time
)

// kernelService keeps kernels in GitHub's cache, each by its digest, so that the
// shards of any list find what those of any other left.
type kernelService struct {
	service *actionscache.Cache
	kernels *kernel.Cache
	warn    func(string)
	// A service that takes longer than this, for one kernel or for all of a job, is
	// given up: a source may be faster.
	each, all time.Duration
	max       int64 // bytes of one kernel
}

func (s *actionStep) kernelService() (*kernelService, error) {
	url, v2 := s.c.getenv("ACTIONS_CACHE_URL"), s.c.getenv("ACTIONS_CACHE_SERVICE_V2") != ""
	if v2 {
		url = s.c.getenv("ACTIONS_RESULTS_URL")
	}
	token := s.c.getenv("ACTIONS_RUNTIME_TOKEN")
	if url == "" || token == "" {
		return nil, errors.New("this runner has no cache service")
	}
	k := &kernelService{warn: s.c.warn, each: time.Minute, all: 3 * time.Minute, max: maxPacked}
	var err error
	if k.service, err = actionscache.New(token, url, v2, actionscache.Opt{Client: &http.Client{}, Timeout: k.each}); err != nil {
		return nil, err
	}
	k.kernels, err = s.c.cacheIn(s.names.cacheDir())
	return k, err
}

// restoreKernels gets the kernels of this job that earlier runs kept.
func restoreKernels(ctx context.Context, s *actionStep) error {
	k, err := s.kernelService()
	var digests []string
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, k.all)
		defer cancel()
		digests, err = s.ownDigests(ctx)
	}
	return s.transfer(ctx, "restored from", k, digests, err, (*kernelService).restore)
}

// saveKernels keeps the kernels of this job for later runs.
func saveKernels(ctx context.Context, s *actionStep) error {
	k, err := s.kernelService()
	var digests []string
	if err == nil {
		digests, err = k.kernels.Smallest(cacheBudget / int64(max(s.names.shard.shards, 1)))
	}
	return s.transfer(ctx, "saved in", k, digests, err, (*kernelService).save)
}

// transfer fails no job: what the service does not have comes from the sources.
func (s *actionStep) transfer(ctx context.Context, did string, k *kernelService, digests []string, err error, do transferFunc) error {
	var n int64
	if err == nil {
		n, err = k.forEach(ctx, digests, do)
	}
	if err != nil {
		s.c.warn("the cache is not used any further: " + report.Redact(err.Error()))
	}
	fmt.Fprintf(s.c.stdout, "%d of %s %s the cache\n", n, count(len(digests), "kernel"), did)
	return nil
}

// transferFunc returns whether it did something.
type transferFunc = func(k *kernelService, ctx context.Context, key, digest string) (bool, error)

// ownDigests returns the digests of the kernels that this job is to boot, by the
// plan that it got, or by one made as the run itself will list.
func (s *actionStep) ownDigests(ctx context.Context) ([]string, error) {
	path, err := s.in["plan"], error(nil)
	if path == "" && s.names.shard.shards > 0 {
		path, err = findArtifact(s.names.planDir(), "plan.json")
	}
	if path == "" && err == nil {
		path, err = s.ownPlan(ctx)
	}
	if err != nil {
		return nil, err
	}
	f, err := readPlan(path)
	if err != nil {
		return nil, err
	}
	i := max(s.names.shard.shard, 1)
	if i > len(f.Shards) {
		return nil, fmt.Errorf("the plan has no shard %d", i)
	}
	var digests []string
	for _, id := range f.Shards[i-1].Kernels {
		k, _ := f.Kernel(id) // its shards are of its list
		digests = append(digests, k.Digest)
	}
	return digests, nil
}

// ownPlan plans as the run will. Its lists stay in the cache, where the run finds
// them; what there is to say of them, the run says.
func (s *actionStep) ownPlan(ctx context.Context) (string, error) {
	in := maps.Clone(s.in)
	in["shards"] = strconv.Itoa(max(s.names.shard.shards, 1))
	in["arch"] = payloadArch(in)
	in["out"] = filepath.Join(s.names.dir, "own-plan.json")
	if _, err := s.forPlan(in); err != nil {
		return "", err
	}
	if err := s.c.install(ctx, missingSources(in)); err != nil {
		return "", err
	}
	c := *s.c
	c.kernels, c.stdout, c.stderr = nil, io.Discard, io.Discard
	args, err := in.args(c.planCommand())
	if err != nil {
		return "", err
	}
	return in["out"], s.exec(ctx, &c, append([]string{"plan", "--cache=" + s.names.cacheDir()}, args...)...)
}

// forEach calls do for each kernel, several at a time, until one fails, and
// returns for how many it did something.
func (k *kernelService) forEach(ctx context.Context, digests []string, do transferFunc) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, k.all)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(transfers)
	var n atomic.Int64
	for _, digest := range digests {
		group.Go(func() (err error) {
			defer func() {
				if p := recover(); p != nil { // the client reads headers that other stores than GitHub's leave out
					err = fmt.Errorf("its answer is not understood: %v", p)
				}
			}()
			ctx, cancel := context.WithTimeout(ctx, k.each)
			defer cancel()
			name, err := kernel.PackName(digest)
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return err
			}
			did, err := do(k, ctx, "bpf-kernel-check-"+name, digest)
			if did {
				n.Add(1)
			}
			return err
		})
	}
	err := group.Wait()
	return n.Load(), err
}

func (k *kernelService) restore(ctx context.Context, key, digest string) (bool, error) {
	entry, err := k.service.Load(ctx, key)
	if err != nil || entry == nil || entry.Key != key {
		return false, err
	}
	body := entry.Download(ctx)
	defer body.Close()
	from := &readerAt{ReaderAt: body}
	r := bufio.NewReaderSize(io.NewSectionReader(from, 0, k.max+1), 256<<10)
	err = k.kernels.Unpack(ctx, digest, func(fn kernel.WalkFunc) error { return unpack.WalkTarUpTo(ctx, r, k.max, fn) })
	if err != nil && ctx.Err() == nil && from.err == nil {
		// Others may be good.
		k.warn(fmt.Sprintf("the cache's %s is no good, delete it: %s", key, report.Redact(err.Error())))
		return false, nil
	}
	return err == nil, err
}

// readerAt remembers an error of what it reads from, but for its end.
type readerAt struct {
	io.ReaderAt
	err error
}

func (r *readerAt) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// save asks first: most kernels are there already.
func (k *kernelService) save(ctx context.Context, key, digest string) (bool, error) {
	entry, err := k.service.Load(ctx, key)
	if err != nil || entry != nil && entry.Key == key {
		return false, err
	}
	f, err := os.CreateTemp(filepath.Join(k.kernels.Dir(), "tmp"), "packed-")
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := k.kernels.Pack(digest, f); err != nil {
		return false, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil || size > k.max {
		return false, err
	}
	err = k.service.Save(ctx, key, struct {
		*io.SectionReader
		io.Closer
	}{io.NewSectionReader(f, 0, size), f})
	if errors.Is(err, os.ErrExist) { // another job was faster
		return false, nil
	}
	return err == nil, err
}
