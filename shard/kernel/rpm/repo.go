package rpm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

const (
	maxMirrorList = 1 << 20 // bytes
	maxMirrors    = 100     // count
	maxSignature  = 64 << 10
)

// rpmFile is one package of a kernel. Its JSON is in a Ref's locator.
type rpmFile struct {
	Repo    string `json:"repo"`
	File    string `json:"file"` // relative to the repository
	Sum     string `json:"sum"`  // "sha256:<hex>", or another type
	Size    int64  `json:"size"` // bytes
	Package string `json:"package"`
}

// rpmDigest returns the package's digest, or one over those of several.
func rpmDigest(files []rpmFile) string {
	if len(files) == 1 && strings.HasPrefix(files[0].Sum, kernel.DigestPrefix) {
		return files[0].Sum
	}
	var sums []string
	for _, f := range files {
		sums = append(sums, f.Sum+"\n")
	}
	slices.Sort(sums)
	sum := sha256.Sum256([]byte(strings.Join(sums, "")))
	return kernel.DigestPrefix + hex.EncodeToString(sum[:])
}

// parseLocator reads a Ref's packages and checks that its digest is theirs. The
// Ref may come from a plan that someone else wrote.
func (s *rpmSource) parseLocator(ref kernel.Ref) ([]rpmFile, error) {
	var files []rpmFile
	if err := json.Unmarshal([]byte(ref.Locator), &files); err != nil {
		return nil, fmt.Errorf("locator does not name RPM packages: %w", err)
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
	if got := rpmDigest(files); got != ref.Digest {
		return nil, &kernel.DigestError{What: "the locator's list of packages", Want: ref.Digest, Got: got}
	}
	return files, nil
}

func (s *rpmSource) repo(name string) (rpmRepo, error) {
	for _, r := range s.repos {
		if r.name == name {
			return r, nil
		}
	}
	return rpmRepo{}, fmt.Errorf("%s has no repository %q", s.title, name)
}

// addresses returns where a repository may be, best first.
func (s *rpmSource) addresses(ctx context.Context, repo rpmRepo) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.mirrors[repo.name]; known != nil {
		return known, nil
	}
	var all []string
	var failed error
	for _, base := range s.bases {
		at := strings.TrimRight(base+"/"+strings.ReplaceAll(repo.path, "$basearch", s.basearch()), "/")
		at = strings.ReplaceAll(at, "$basearch", s.basearch())
		if !repo.mirrorList {
			all = append(all, at)
			continue
		}
		list, err := s.fetchSmall(ctx, at, maxMirrorList)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		all = append(all, parseMirrorList(list, s.basearch(), strings.HasPrefix(base, "https:"))...)
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

// readRepo returns a repository's kernel packages; bad are entries that are
// passed over. The first address that has the repository counts.
func (s *rpmSource) readRepo(ctx context.Context, repo rpmRepo, keys *keyring) (list []rpmPackage, bad []string, err error) {
	all, err := s.addresses(ctx, repo)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, at := range all {
		list, bad, err := s.readRepoAt(ctx, repo, at, keys)
		if err == nil {
			s.mu.Lock()
			// The packages come from where the metadata did, if they can.
			s.mirrors[repo.name] = append([]string{at}, slices.DeleteFunc(slices.Clone(all), func(a string) bool { return a == at })...)
			s.mu.Unlock()
			for i := range list {
				list[i].repo = repo.name
			}
			return list, bad, nil
		}
		if ctx.Err() != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.title, context.Cause(ctx))
		}
		errs = append(errs, err)
	}
	// What one server lacks and another fails to answer is not known to be
	// absent.
	for _, err := range errs {
		if !absent(err) {
			return nil, nil, fmt.Errorf("list kernels of %s: %w", s.title, err)
		}
	}
	return nil, nil, errs[0]
}

func (s *rpmSource) readRepoAt(ctx context.Context, repo rpmRepo, at string, keys *keyring) ([]rpmPackage, []string, error) {
	const file = "repodata/repomd.xml"
	repomd, err := s.fetchSmall(ctx, at+"/"+file, maxRepomd)
	if err != nil {
		return nil, nil, err
	}
	if keys != nil {
		sig, err := s.fetchSmall(ctx, at+"/"+file+".asc", maxSignature)
		switch {
		case err == nil:
			if err := keys.verify(bytes.NewReader(repomd), sig); err != nil {
				return nil, nil, fmt.Errorf("%s/%s: %w", shownURL(at), file, err)
			}
		case !absent(err): // many sign packages only
			return nil, nil, err
		}
	}
	f, err := parseRepomd(repomd)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", shownURL(at), err)
	}
	tmp, err := os.CreateTemp(filepath.Join(s.cache.Dir(), "tmp"), "primary-")
	if err != nil {
		return nil, nil, fmt.Errorf("fetch package list: %w", err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	size := f.Size
	if size == 0 {
		size = maxPrimary
	}
	if err := s.fetchFrom(ctx, at, f.Location.Href, tmp.Name(), size, f.Size == 0, f.Checksum, nil); err != nil {
		if absent(err) { // announced and not there: not an absent repository
			err = fmt.Errorf("%s: the package list that repomd.xml names is missing: %v", shownURL(at), err)
		}
		return nil, nil, err
	}
	r, err := openPrimary(tmp)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", shownURL(at), err)
	}
	defer r.Close()
	list, bad, err := parsePrimary(bounded.Reader(ctx, r), s.basearch())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", shownURL(at), err)
	}
	return list, bad, nil
}

// openPrimary decompresses by content.
func openPrimary(f *os.File) (io.ReadCloser, error) {
	head := make([]byte, 8)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if c := image.CompressionOf(head[:n]); c != image.NoCompression {
		return image.Decompress(c, f)
	}
	return io.NopCloser(f), nil
}

// fetchFile downloads a package from the first address that has it.
func (s *rpmSource) fetchFile(ctx context.Context, repo rpmRepo, href, dst string, size int64, sum checksum, progress func(int64)) error {
	all, err := s.addresses(ctx, repo)
	if err != nil {
		return err
	}
	var first error
	for _, at := range all {
		err := s.fetchFrom(ctx, at, href, dst, size, false, sum, progress)
		if err == nil || ctx.Err() != nil {
			return err
		}
		// The most telling error is that of a server that has the file.
		if first == nil || absent(first) && !absent(err) {
			first = err
		}
	}
	return first
}

// fetchFrom downloads one file of a repository and checks it. With atMost, size
// is a limit.
func (s *rpmSource) fetchFrom(ctx context.Context, at, href, dst string, size int64, atMost bool, sum checksum, progress func(int64)) error {
	uri, err := resolveHref(at, href)
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(at, "file:"):
		err = copyLocal(ctx, at, href, dst, size)
	case atMost:
		var b []byte
		if b, err = s.fetcher.get(ctx, uri, size); err == nil {
			err = os.WriteFile(dst, b, 0o644)
		}
	default:
		err = s.fetcher.file(ctx, uri, dst, size, progress)
	}
	if err != nil {
		return err
	}
	f, err := os.Open(dst)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := sum.sumOf(bounded.Reader(ctx, f))
	if err != nil {
		return err
	}
	if got != sum {
		return &kernel.DigestError{What: shownURL(uri), Want: sum.String(), Got: got.String()}
	}
	return nil
}

// copyLocal copies a file out of a repository's directory, which links and ".."
// do not leave.
func copyLocal(ctx context.Context, base, href, dst string, size int64) error {
	name, err := url.PathUnescape(href)
	if err != nil || !fs.ValidPath(name) {
		return fmt.Errorf("location %q leads out of %s", href, base)
	}
	f, err := openLocal(base, name)
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := bounded.Copy(ctx, out, f, size, fmt.Sprintf("size of %q", name)); err != nil {
		return err
	}
	return out.Close()
}

// openLocal opens a regular file below the directory of a file URL.
func openLocal(base, name string) (*os.File, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(u.Path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := root.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Path, err)
	}
	if !st.Mode().IsRegular() { // opening a FIFO would block
		return nil, fmt.Errorf("%s is not a regular file", filepath.Join(u.Path, name))
	}
	return root.Open(name)
}

// fetchSmall returns a file of at most limit bytes.
func (s *rpmSource) fetchSmall(ctx context.Context, uri string, limit int64) ([]byte, error) {
	base := s.bases[0]
	name, below := strings.CutPrefix(uri, base+"/")
	if !strings.HasPrefix(base, "file:") || !below {
		return s.fetcher.get(ctx, uri, limit)
	}
	f, err := openLocal(base, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = bounded.Copy(ctx, &b, f, limit, fmt.Sprintf("size of %q", name))
	return b.Bytes(), err
}
