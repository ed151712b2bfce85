package repo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/fetch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

const (
	maxMirrorList = 1 << 20 // bytes
	maxMirrors    = 100     // count
	maxSignature  = 64 << 10
)

// packageFile is one package of a kernel. Its JSON is in a Ref's locator.
type packageFile struct {
	Repo    string `json:"repo"`
	File    string `json:"file"` // relative to the repository
	Sum     string `json:"sum"`  // "sha256:<hex>", or another type
	Size    int64  `json:"size"` // bytes
	Package string `json:"package"`

	Signature string `json:"signature,omitempty"` // of the file, base64, where the metadata has it
}

// digestOf returns the package's digest, or one over those of several.
func digestOf(files []packageFile) string {
	if len(files) == 1 && strings.HasPrefix(files[0].Sum, kernel.DigestPrefix) {
		return files[0].Sum
	}
	var sums []string
	for _, f := range files {
		sums = append(sums, f.Sum)
	}
	return kernel.DigestOfAll(sums)
}

// parseLocator reads a Ref's packages and checks that its digest is theirs. The
// Ref may come from a plan that someone else wrote.
func (s *source) parseLocator(ref kernel.Ref) ([]packageFile, error) {
	var files []packageFile
	if err := json.Unmarshal([]byte(ref.Locator), &files); err != nil {
		return nil, fmt.Errorf("locator does not name packages of a repository: %w", err)
	}
	if len(files) == 0 || len(files) > 8 {
		return nil, fmt.Errorf("locator names %d packages", len(files))
	}
	for _, f := range files {
		if _, err := parseChecksum(f.Sum); err != nil {
			return nil, err
		}
		if _, err := s.repo(f.Repo); err != nil {
			return nil, err
		}
		if !validHref(f.File) || f.Size <= 0 || f.Size > unpack.MaxArchive {
			return nil, fmt.Errorf("locator is not valid: %q", bounded.OneLine(ref.Locator))
		}
	}
	if got := digestOf(files); got != ref.Digest {
		return nil, &kernel.DigestError{What: "the locator's list of packages", Want: ref.Digest, Got: got}
	}
	return files, nil
}

func (s *source) repo(name string) (repository, error) {
	for _, r := range s.repos {
		if r.name == name {
			return r, nil
		}
	}
	return repository{}, fmt.Errorf("%s has no repository %q", s.title, name)
}

// addresses returns where a repository may be, best first.
func (s *source) addresses(ctx context.Context, repo repository) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.mirrors[repo.name]; known != nil {
		return known, nil
	}
	var all []string
	var failed error
	for _, base := range s.bases {
		path := repo.path
		if repo.ports != "" && s.arch != "amd64" {
			path = repo.ports
		}
		at := base + "/" + path
		if strings.Contains(base, "$repo") { // a Server of pacman.conf
			at = base
		}
		at = strings.TrimRight(strings.NewReplacer("$repo", repo.name, "$basearch", s.basearch, "$arch", s.basearch, "$ports", portsOf(s.basearch)).Replace(at), "/")
		if !repo.mirrorList {
			all = append(all, at)
			continue
		}
		list, err := s.fetcher.Get(ctx, at, maxMirrorList)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		all = append(all, parseMirrorList(list, s.basearch, strings.HasPrefix(base, "https:"))...)
	}
	if len(all) == 0 {
		if failed == nil {
			failed = fmt.Errorf("%s: the list of mirrors of %s is empty", s.title, repo.name)
		}
		return nil, failed
	}
	s.mirrors[repo.name] = all
	return all, nil
}

// portsOf is openSUSE's directory of an architecture.
func portsOf(machine string) string {
	return cmp.Or(map[string]string{"s390x": "zsystems", "ppc64le": "ppc", "riscv64": "riscv"}[machine], machine)
}

// parseMirrorList reads a list of URLs, one on each line. Where the list came
// encrypted, only those that are so too count.
func parseMirrorList(b []byte, basearch string, encrypted bool) []string {
	var all []string
	for line := range strings.SplitSeq(string(b), "\n") {
		line = strings.TrimRight(strings.ReplaceAll(strings.TrimSpace(line), "$basearch", basearch), "/")
		u, err := url.Parse(line)
		if err != nil || u.Scheme != "https" && (u.Scheme != "http" || encrypted) || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			continue
		}
		if all = append(all, line); len(all) == maxMirrors {
			break
		}
	}
	return all
}

// firstOf calls try with a repository's addresses until one works. That counts as
// the best from then on: packages come from where the metadata did, if they can.
func (s *source) firstOf(ctx context.Context, repo repository, try func(at string) error) error {
	all, err := s.addresses(ctx, repo)
	if err != nil {
		return err
	}
	var failed error
	for i, at := range all {
		err := try(at)
		if err == nil {
			s.mu.Lock()
			s.mirrors[repo.name] = slices.Concat(all[i:i+1], all[:i], all[i+1:])
			s.mu.Unlock()
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		failed = telling(failed, err)
	}
	return failed
}

// readRepo returns a repository's kernel packages; bad are entries that are
// passed over.
func (s *source) readRepo(ctx context.Context, repo repository, keys *keyring) (list []pkg, bad []string, err error) {
	err = s.firstOf(ctx, repo, func(at string) (err error) {
		list, bad, err = s.format.read(ctx, s, at, repo, keys)
		return err
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, fmt.Errorf("%s: %w", s.title, context.Cause(ctx))
	case err != nil && !fetch.Absent(err):
		return nil, nil, fmt.Errorf("list kernels of %s: %w", s.title, err)
	}
	for i := range list {
		list[i].repo = repo.name
	}
	return list, bad, err
}

// telling returns which of two servers' errors counts: what one lacks and
// another fails to answer is not known to be absent.
func telling(first, next error) error {
	if first == nil || fetch.Absent(first) && !fetch.Absent(next) {
		return next
	}
	return first
}

// readRPMs returns the kernel packages of an RPM repository at an address.
func readRPMs(ctx context.Context, s *source, at string, _ repository, keys *keyring) ([]pkg, []string, error) {
	const file = "repodata/repomd.xml"
	fail := func(err error) ([]pkg, []string, error) {
		return nil, nil, fmt.Errorf("%s: %w", fetch.ShownURL(at), err)
	}
	repomd, err := s.fetcher.Get(ctx, at+"/"+file, maxRepomd)
	if err != nil {
		return nil, nil, err
	}
	signed, err := s.verifyBeside(ctx, at+"/"+file+".asc", repomd, keys)
	if err == nil && !signed && keys != nil && !s.unsigned && (s.keyFile != "" || strings.HasPrefix(at, "http:")) {
		err = fmt.Errorf("%w: it is not signed: if this repository signs packages only, say so by ,metadata=unsigned", kernel.ErrSignature)
	}
	if err != nil {
		return fail(fmt.Errorf("%s: %w", file, err))
	}
	f, err := parseRepomd(repomd)
	if err != nil {
		return fail(err)
	}
	uri, err := resolveHref(at, f.Location.Href)
	if err != nil {
		return nil, nil, err
	}
	limit := int64(maxPrimary)
	if f.Size > 0 {
		limit = f.Size
	}
	primary, err := s.fetcher.Get(ctx, uri, limit)
	if fetch.Absent(err) { // announced and not there: not an absent repository
		return fail(fmt.Errorf("the package list that repomd.xml names is missing: %v", err))
	}
	if err != nil {
		return nil, nil, err
	}
	if int64(len(primary)) < f.Size {
		return fail(fmt.Errorf("the package list ends after %d of %d bytes", len(primary), f.Size))
	}
	if err := f.Checksum.verify(bytes.NewReader(primary), uri); err != nil {
		return nil, nil, err
	}
	r, err := decompressed(primary)
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	list, bad, err := parsePrimary(bounded.Reader(ctx, r), s.basearch)
	if err != nil {
		return fail(err)
	}
	return list, bad, nil
}

// decompressed unpacks what is compressed, which its content tells.
func decompressed(b []byte) (io.ReadCloser, error) {
	r := io.NopCloser(bytes.NewReader(b))
	if c := image.CompressionOf(b); c != image.NoCompression {
		return image.Decompress(c, r)
	}
	return r, nil
}

// verifyBeside checks metadata against its signature, a file at an address, if
// there are keys. It reports whether there is a signature.
func (s *source) verifyBeside(ctx context.Context, at string, metadata []byte, keys *keyring) (signed bool, err error) {
	if keys == nil {
		return false, nil
	}
	sig, err := s.fetcher.Get(ctx, at, maxSignature)
	if fetch.Absent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, keys.verify(bytes.NewReader(metadata), sig)
}

// fetchFrom downloads a package from a repository's address.
func (s *source) fetchFrom(ctx context.Context, at string, f packageFile, dst string, sum checksum, progress func(int64)) error {
	uri, err := resolveHref(at, f.File)
	if err != nil {
		return err
	}
	if err := s.fetcher.File(ctx, uri, dst, f.Size, progress); err != nil {
		return err
	}
	got, err := os.Open(dst)
	if err != nil {
		return err
	}
	defer got.Close()
	return sum.verify(bounded.Reader(ctx, got), uri)
}
