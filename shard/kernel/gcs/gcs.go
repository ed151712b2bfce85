// Package gcs reads kernels from Google Cloud Storage. It owns the credentials,
// the listing of a bucket, and downloads that resume at the generation that was
// listed. It must not know other kinds of sources.
package gcs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"unicode"

	"cloud.google.com/go/storage"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

const layout = "expected <distro>/<kernel version>__<ids>.tar.gz objects"

// source lists a Google Cloud Storage bucket, or what lies below a prefix in
// it.
type source struct {
	spec   string
	bucket string
	prefix string // without slashes at its ends; "" for the whole bucket
	payer  string // the project that pays for reading, "" for the bucket's own
	cache  *kernel.Cache
	net    network

	mu     sync.Mutex // guards client and err
	client *client
	err    error // of credentials that are refused; everything else may pass
}

// bucketRE is of https://cloud.google.com/storage/docs/buckets#naming.
var bucketRE = bounded.NewPattern(222, `^[a-z0-9][a-z0-9._-]+[a-z0-9]$`)

// Parse parses what follows "gs:" in a spec.
func Parse(spec, rest, _ string, cache *kernel.Cache) (kernel.Source, error) {
	rest, o, err := kernel.CutOptions(spec, rest, "user-project")
	if err != nil {
		return nil, err
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
	if !strings.HasPrefix(rest, "//") || !bucketRE.MatchString(bucket) {
		return nil, kernel.Usagef("kernel source %q is not valid: expected gs://<bucket>[/<prefix>][,user-project=<project>], the bucket's name of lower-case letters, digits and ._-", spec)
	}
	return &source{spec: spec, bucket: bucket, prefix: strings.Trim(prefix, "/"), payer: o.UserProject, cache: cache, net: publicNetwork()}, nil
}

func (s *source) String() string { return s.spec }

func (s *source) connect(ctx context.Context) (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil || s.err != nil {
		return s.client, s.err
	}
	c, err := newClient(ctx, s.bucket, s.payer, s.net)
	if usage := (*kernel.UsageError)(nil); errors.As(err, &usage) {
		s.err = err
	}
	if err != nil {
		return nil, err
	}
	s.cache.Notef("gs://%s: %s", s.bucket, c.who)
	s.client = c
	return c, nil
}

// List pages through the bucket. It transfers names, generations and digests,
// nothing of the kernels.
func (s *source) List(ctx context.Context) ([]kernel.Ref, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	objects, err := s.objects(ctx, c)
	if err != nil {
		return nil, err
	}
	var refs []kernel.Ref
	var others []string
	for _, o := range objects {
		if ref, ok := s.ref(o); ok {
			refs = append(refs, ref)
		} else if !strings.HasSuffix(o.Name, "/") { // the consoles make these stand for directories
			others = append(others, o.Name)
		}
	}
	if len(refs) == 0 {
		return nil, kernel.Usagef("%q holds no kernels among its %d objects: %s", s.spec, len(objects), layout)
	}
	if len(others) > 0 {
		s.cache.Warnf("gs://%s: %d objects are no kernels, such as %q: %s", s.bucket, len(others), others[0], layout)
	}
	return kernel.SortRefs(refs), nil
}

// objects lists what lies below the prefix. One that names an archive is that
// object: reading it takes no permission to list.
func (s *source) objects(ctx context.Context, c *client) ([]object, error) {
	if unpack.ArchiveStem(s.prefix) == "" {
		query := s.prefix
		if query != "" {
			query += "/"
		}
		return c.list(ctx, query)
	}
	o, err := c.stat(ctx, s.prefix)
	switch {
	case err == nil:
		return []object{o}, nil
	case errors.Is(err, storage.ErrObjectNotExist): // or a directory has that name
		return c.list(ctx, s.prefix)
	}
	return nil, c.explain(ctx, fmt.Sprintf("read gs://%s/%s", s.bucket, bounded.OneLine(s.prefix)), "storage.objects.get", err)
}

// ref makes the Ref of an object, false for what does not look like a kernel.
func (s *source) ref(o object) (kernel.Ref, bool) {
	name := o.Name
	if s.prefix != "" && name != s.prefix {
		var ok bool
		if name, ok = strings.CutPrefix(name, s.prefix+"/"); !ok {
			return kernel.Ref{}, false
		}
	} else if name == s.prefix {
		name = path.Base(name)
	}
	distro, base, ok := strings.Cut(name, "/")
	if !ok {
		// What lies at the top belongs to the distro that the prefix names.
		distro, base = path.Base(path.Dir(o.Name)), name
		if distro == "." || distro == "/" {
			distro = s.bucket
		}
	}
	if strings.Contains(base, "/") || unpack.ArchiveStem(base) == "" && !unpack.IsImage(base) {
		return kernel.Ref{}, false
	}
	ref := unpack.RefOf(distro, name)
	ref.Digest, ref.Size = o.digest(s.bucket), o.Size
	if ref.Locator == "" {
		ref.Locator = o.locator()
	}
	return ref, true
}

// Open downloads the kernel unless the cache has it. It needs no listing: the
// Ref says which generation of which object it is, and its checksums.
func (s *source) Open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	if reason, bad := strings.CutPrefix(ref.Locator, unpack.BadLocator); bad {
		return nil, &kernel.BadKernelError{ID: ref.ID(), Err: errors.New(reason)}
	}
	o, err := parseLocator(ref.Locator)
	if err == nil && o.digest(s.bucket) != ref.Digest {
		err = &kernel.DigestError{What: "its locator", Want: ref.Digest, Got: o.digest(s.bucket)}
	}
	if err != nil {
		return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
	}
	im, err := s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		return s.fetch(ctx, ref, o, dir)
	}, func(dir string) []kernel.Archive {
		return []kernel.Archive{unpack.Tar(filepath.Join(dir, archiveFile))}
	})
	if err != nil {
		return nil, kernel.OpenError(ref, err)
	}
	return im, nil
}

const archiveFile = "archive"

// fetch downloads an object into dir and takes the kernel out of it.
func (s *source) fetch(ctx context.Context, ref kernel.Ref, o object, dir string) (kernel.Contents, error) {
	if o.Size > unpack.MaxArchive {
		return kernel.Contents{}, &kernel.BadKernelError{ID: ref.ID(), Err: &bounded.LimitError{What: fmt.Sprintf("size of gs://%s/%s", s.bucket, o.Name), Limit: unpack.MaxArchive}}
	}
	c, err := s.connect(ctx)
	if err != nil {
		return kernel.Contents{}, err
	}
	bare := unpack.ArchiveStem(path.Base(o.Name)) == ""
	file := filepath.Join(dir, archiveFile)
	if bare {
		file = filepath.Join(dir, kernel.KernelFile)
	}
	if err := c.download(ctx, o, file, func(done int64) { s.cache.Fetched(ref, done, o.Size) }); err != nil {
		return kernel.Contents{}, err
	}
	if bare {
		info, err := image.Unwrap(file, o.Name)
		if nk := (*image.NotKernelError)(nil); errors.As(err, &nk) {
			err = &kernel.BadKernelError{ID: ref.ID(), Err: nk}
		}
		return kernel.Contents{Image: info}, err
	}
	made, err := unpack.Tar(file).Unpack(ctx, dir, "")
	if several := (*unpack.SeveralError)(nil); errors.As(err, &several) {
		err = fmt.Errorf("%w: give each an object of its own", err)
	}
	if err != nil {
		if ctx.Err() == nil {
			err = &kernel.BadKernelError{ID: ref.ID(), Err: err}
		}
		return kernel.Contents{}, err
	}
	if made.Modules == "" { // nothing will be read from it again
		if err := os.Remove(file); err != nil {
			return kernel.Contents{}, err
		}
	}
	return made, nil
}

// object is one generation of an object, as the listing describes it.
type object struct {
	Name       string `json:"object"`
	Generation int64  `json:"generation"`
	Size       int64  `json:"size"`
	CRC32C     uint32 `json:"crc32c"`
	MD5        string `json:"md5,omitempty"` // hex; composite objects have none
}

// digest pins the object. Google gives no SHA-256 of the bytes, and neither
// CRC32C nor MD5 can tell apart what someone made to collide; a generation of
// an object, though, never changes its bytes.
func (o object) digest(bucket string) string {
	h := sha256.New()
	fmt.Fprintf(h, "gs\n%q\n%q\n%d\n%d\n%08x\n%s\n", bucket, o.Name, o.Generation, o.Size, o.CRC32C, o.MD5)
	return kernel.DigestPrefix + hex.EncodeToString(h.Sum(nil))
}

func (o object) locator() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(b)
}

// parseLocator reads a locator, which may come from a plan that someone else
// wrote.
func parseLocator(s string) (object, error) {
	var o object
	if err := json.Unmarshal([]byte(s), &o); err != nil {
		return object{}, fmt.Errorf("locator: %w", err)
	}
	if _, err := hex.DecodeString(o.MD5); err != nil || len(o.MD5) != 0 && len(o.MD5) != 32 {
		return object{}, fmt.Errorf("locator: MD5 %.40q", o.MD5)
	}
	if o.Size < 0 || o.Generation <= 0 || o.Name == "" || len(o.Name) > 1024 || strings.ContainsFunc(o.Name, unicode.IsControl) {
		return object{}, fmt.Errorf("locator: object %.80q, generation %d, size %d", o.Name, o.Generation, o.Size)
	}
	return o, nil
}
