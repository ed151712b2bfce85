package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ociSource lists the tags of a repository of kernel images, or one of them.
// Credentials and proxies are those of docker's configuration and of the
// environment.
type ociSource struct {
	spec  string
	repo  name.Repository
	ref   name.Reference // nil: all tags
	arch  string         // as in GOARCH, which is OCI's name too
	cache *Cache
	now   func() time.Time
}

const (
	maxTags      = 20_000 // count
	ociParallel  = 8      // requests while listing
	maxPlatforms = 200    // count, of images in an index
)

// parseOCI reads "//<registry>/<repository>[:<tag>|@<digest>]".
func parseOCI(spec, rest, hostArch string, cache *Cache) (Source, error) {
	address, ok := strings.CutPrefix(rest, "//")
	fail := func(err error) error {
		return usagef("kernel source %q is not valid: expected oci://<registry>/<repository>[:<tag>], such as oci://ghcr.io/cilium/ci-kernels:6.6: %s", spec, oneLine(err.Error()))
	}
	if !ok || address == "" {
		return nil, fail(errors.New("it names no repository"))
	}
	s := &ociSource{spec: spec, arch: hostArch, cache: cache, now: time.Now}
	ref, err := name.ParseReference(address, name.WithDefaultTag(""))
	if err == nil {
		s.repo = ref.Context()
		if ref.Identifier() != "" {
			s.ref = ref
		}
		return s, nil
	}
	return nil, fail(err)
}

func (s *ociSource) String() string { return s.spec }

func (s *ociSource) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithJobs(ociParallel)}
}

// List asks for the manifests of the tags, unless it did so less than an hour
// ago.
func (s *ociSource) List(ctx context.Context) ([]Ref, error) {
	return s.cache.remembered(ctx, s.spec+"\x00"+s.arch, s.spec, s.now, s.list)
}

func (s *ociSource) list(ctx context.Context) ([]Ref, error) {
	images := []name.Reference{s.ref}
	if s.ref == nil {
		tags, err := remote.List(s.repo, s.options(ctx)...)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		images = images[:0]
		for _, t := range tags {
			if !attachedTag.MatchString(t) {
				images = append(images, s.repo.Tag(t))
			}
		}
	}
	if len(images) > maxTags {
		return nil, fmt.Errorf("list kernels of %s: %w", s.spec, &LimitError{What: "number of tags", Limit: maxTags})
	}
	found := make([]ociFound, len(images))
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(ociParallel, len(images)) {
		wg.Go(func() {
			for i := range next {
				found[i] = s.resolve(ctx, images[i])
			}
		})
	}
	for i := range images {
		next <- i
	}
	close(next)
	wg.Wait()
	var refs []Ref
	var others, bad []string
	for i, f := range found {
		switch {
		case f.err != nil && (len(images) == 1 || ctx.Err() != nil || !permanent(f.err)):
			return nil, s.fail(ctx, f.err)
		case f.err != nil:
			bad = append(bad, images[i].Identifier())
		case f.other:
			others = append(others, images[i].Identifier())
		default:
			refs = append(refs, f.ref)
		}
	}
	if len(bad) > 0 {
		s.cache.warnf("%s: %d tags are left out, as they are no images: %s", s.spec, len(bad), oneLine(strings.Join(bad, ", ")))
	}
	if len(refs) == 0 {
		if len(others) > 0 {
			return nil, usagef("kernel source %q: it has no image for %s", s.spec, s.arch)
		}
		return nil, usagef("kernel source %q: the repository has no image", s.spec)
	}
	if len(others) > 0 {
		s.cache.warnf("%s: %d tags are left out, as they have no image for %s: %s", s.spec, len(others), s.arch, oneLine(strings.Join(others, ", ")))
	}
	return sortRefs(refs), nil
}

// releaseTag is a tag that names a kernel's release, as cilium's ci-kernels and
// little-vm-helper have it: "6.6", "5.10-20240101.1". Smaller numbers and dates
// are versions of the image.
var releaseTag = regexp.MustCompile(`^([3-9]|[1-9][0-9])\.[0-9]{1,3}($|[^0-9])`)

// attachedTag is that of a signature or attestation of another image.
var attachedTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}`)

// permanent reports whether a registry's answer is about this one image.
func permanent(err error) bool {
	var e *transport.Error
	return errors.Is(err, errNoImage) || errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}

var errNoImage = errors.New("it is no image")

// ociFound is what a tag turned out to be.
type ociFound struct {
	ref   Ref
	other bool // it has no image for this architecture
	err   error
}

// resolve pins the image that a tag has for this architecture.
func (s *ociSource) resolve(ctx context.Context, ref name.Reference) ociFound {
	desc, err := remote.Get(ref, s.options(ctx)...)
	if err != nil {
		return ociFound{err: err}
	}
	out := Ref{
		Distro: SafeName("oci-" + path.Base(s.repo.RepositoryStr())),
		Name:   SafeName(strings.TrimPrefix(ref.Identifier(), digestPrefix)),
		Digest: desc.Digest.String(),
	}
	if r := releaseOf(ref.Identifier()); releaseTag.MatchString(r) {
		out.Release = r
	}
	switch {
	case desc.MediaType.IsIndex():
		index, err := desc.ImageIndex()
		if err != nil {
			return ociFound{err: err}
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return ociFound{err: fmt.Errorf("%w: %w", errNoImage, err)}
		}
		if len(manifest.Manifests) > maxPlatforms {
			return ociFound{err: &LimitError{What: fmt.Sprintf("number of images in %s", ref), Limit: maxPlatforms}}
		}
		child := forArch(manifest.Manifests, s.arch)
		if child == nil {
			return ociFound{other: true}
		}
		out.Digest, out.Arch = child.Digest.String(), s.arch
	case desc.MediaType.IsImage():
		im, err := desc.Image()
		if err != nil {
			return ociFound{err: err}
		}
		manifest, err := im.Manifest()
		if err != nil {
			return ociFound{err: fmt.Errorf("%w: %w", errNoImage, err)}
		}
		out.Size = layersSize(manifest)
	default:
		return ociFound{err: fmt.Errorf("%w: its media type is %q", errNoImage, desc.MediaType)}
	}
	if _, err := digestHex(out.Digest); err != nil {
		return ociFound{err: err}
	}
	return ociFound{ref: out}
}

// forArch returns the image for an architecture, nil when there is none.
// Attestations have the platform "unknown".
func forArch(list []v1.Descriptor, arch string) *v1.Descriptor {
	for i, d := range list {
		if d.MediaType.IsImage() && d.Platform != nil && d.Platform.Architecture == arch {
			return &list[i]
		}
	}
	return nil
}

func layersSize(m *v1.Manifest) (total int64) {
	for _, l := range m.Layers {
		total += max(l.Size, 0)
	}
	return total
}

// Open fetches the image by its digest unless the cache has it.
func (s *ociSource) Open(ctx context.Context, ref Ref) (*Image, error) {
	if _, err := digestHex(ref.Digest); err != nil {
		return nil, &BadKernelError{ID: ref.ID(), Err: err}
	}
	e, err := s.cache.entry(ctx, ref.Digest, func(ctx context.Context, dir string) (*entry, error) {
		im, err := remote.Image(s.repo.Digest(ref.Digest), s.options(ctx)...)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		layers, err := s.layers(im, ref)
		if err == nil {
			var e *entry
			if e, err = unpackImage(ctx, dir, layers); err == nil {
				return e, nil
			}
		}
		if ctx.Err() != nil || isNetwork(err) {
			return nil, s.fail(ctx, err)
		}
		return nil, &BadKernelError{ID: ref.ID(), Err: err}
	})
	if err != nil {
		if bad := (*BadKernelError)(nil); errors.As(err, &bad) {
			return nil, err // names the kernel already
		}
		return nil, fmt.Errorf("open kernel %s: %w", ref.ID(), err)
	}
	return newImage(ref, e, []archive{{path: filepath.Join(e.dir, ociArchive)}}), nil
}

// layers returns the image's layers, lowest first.
func (s *ociSource) layers(im v1.Image, ref Ref) ([]layer, error) {
	manifest, err := im.Manifest()
	if err != nil {
		return nil, err
	}
	total := layersSize(manifest)
	if len(manifest.Layers) > maxLayers {
		return nil, &LimitError{What: "number of layers", Limit: maxLayers}
	}
	if total > maxArchive {
		return nil, &LimitError{What: "size of the layers", Limit: maxArchive}
	}
	list, err := im.Layers()
	if err != nil {
		return nil, err
	}
	var done int64
	var layers []layer
	for _, l := range list {
		layers = append(layers, func(ctx context.Context) (io.ReadCloser, error) {
			blob, err := l.Compressed() // checks the digest when it is read to its end
			if err != nil {
				return nil, err
			}
			r := &countedBlob{ReadCloser: blob, fn: func(n int64) {
				done += n
				s.cache.progress(ref, done, total)
			}}
			return openLayer(ctx, r)
		})
	}
	return layers, nil
}

// isNetwork tells what went wrong on the way from what is wrong with the image.
func isNetwork(err error) bool {
	var e *transport.Error
	var n interface{ Timeout() bool }
	return errors.As(err, &e) || errors.As(err, &n)
}

// fail explains a registry's error.
func (s *ociSource) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", s.spec, context.Cause(ctx))
	}
	var e *transport.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", s.spec, err)
	}
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: the registry %s does not let you read it: check the name, or log in with docker login: %s", s.spec, s.repo.RegistryStr(), oneLine(e.Error()))
	case http.StatusNotFound:
		return usagef("kernel source %q: the registry %s does not have it: %s", s.spec, s.repo.RegistryStr(), oneLine(e.Error()))
	}
	return fmt.Errorf("%s: %s", s.spec, oneLine(e.Error()))
}

// openLayer decompresses a layer by content. Its Close reads the blob to its
// end, so that the blob's digest is checked.
func openLayer(ctx context.Context, blob io.ReadCloser) (io.ReadCloser, error) {
	r, err := openLayerTar(ctxReader{ctx, blob})
	if err != nil {
		blob.Close()
		return nil, err
	}
	return &layerReader{ctx: ctx, ReadCloser: r, blob: blob}, nil
}

type layerReader struct {
	io.ReadCloser
	ctx  context.Context
	blob io.ReadCloser
}

func (l *layerReader) Close() error {
	err := l.ReadCloser.Close()
	if _, rerr := copyCapped(l.ctx, io.Discard, l.blob, maxArchive, "size of a layer"); err == nil {
		err = rerr
	}
	if cerr := l.blob.Close(); err == nil {
		err = cerr
	}
	return err
}

type countedBlob struct {
	io.ReadCloser
	fn func(n int64)
}

func (c *countedBlob) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.fn(int64(n))
	return n, err
}
