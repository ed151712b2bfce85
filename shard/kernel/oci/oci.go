// Package oci reads kernels from images in OCI registries, and layers of any image
// for root file systems. It owns what a tag resolves to, what upper layers hide of
// lower ones, and what of an image is kept. It must not know other kinds of sources.
package oci

import (
	"cmp"
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

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// source lists the tags of a repository of kernel images, or one of them.
// Credentials and proxies are those of docker's configuration and of the
// environment.
type source struct {
	what  string // that spec is, in words for errors
	spec  string
	repo  name.Repository
	ref   name.Reference // nil: all tags
	pick  string         // the release of the kernel in an image of several; "" for the only one
	arch  string         // as in GOARCH, which is OCI's name too
	cache *kernel.Cache
	now   func() time.Time
}

const (
	maxTags      = 20_000 // count
	parallel     = 8      // requests while listing
	maxPlatforms = 200    // count, of images in an index
)

// Parse reads "//<registry>/<repository>[:<tag>|@<digest>][#<release>]".
func Parse(spec, rest, hostArch string, cache *kernel.Cache) (kernel.Source, error) {
	s := &source{what: "kernel source", spec: spec, arch: hostArch, cache: cache, now: time.Now}
	rest, s.pick, _ = strings.Cut(rest, "#")
	err := s.parse(rest, "oci://ghcr.io/cilium/ci-kernels:6.6")
	if err == nil && s.pick != "" && s.ref == nil {
		err = kernel.Usagef("kernel source %q is not valid: #%s picks a kernel of one image: name its tag", spec, s.pick)
	}
	return s, err
}

func (s *source) parse(rest, example string) error {
	address, ok := strings.CutPrefix(rest, "//")
	fail := func(err error) error {
		return kernel.Usagef("%s %q is not valid: expected oci://<registry>/<repository>[:<tag>], such as %s: %s", s.what, s.spec, example, bounded.OneLine(err.Error()))
	}
	if !ok || address == "" {
		return fail(errors.New("it names no repository"))
	}
	ref, err := name.ParseReference(address, name.WithDefaultTag(""))
	if err == nil {
		s.repo = ref.Context()
		if ref.Identifier() != "" {
			s.ref = ref
		}
		return nil
	}
	if user, _, ok := strings.Cut(address, "@"); ok && !strings.Contains(user, "/") {
		err = errors.New("a name and password do not stand in it: use docker login")
	}
	return fail(err)
}

func (s *source) String() string { return s.spec }

func (s *source) options(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithJobs(parallel)}
}

// List asks for the manifests of the tags, unless it did so less than an hour
// ago.
func (s *source) List(ctx context.Context) ([]kernel.Ref, error) {
	return s.cache.Remembered(ctx, s.spec+"\x00"+s.arch, s.spec, s.now, s.list)
}

func (s *source) list(ctx context.Context) ([]kernel.Ref, error) {
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
		return nil, fmt.Errorf("list kernels of %s: %w", s.spec, &bounded.LimitError{What: "number of tags", Limit: maxTags})
	}
	results := make([]found, len(images))
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	for i := range images {
		slots <- struct{}{}
		wg.Go(func() {
			results[i] = s.resolve(ctx, images[i])
			<-slots
		})
	}
	wg.Wait()
	var refs []kernel.Ref
	var others, bad []string
	for i, f := range results {
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
		s.cache.Warnf("%s: %d tags are left out, as they are no images: %s", s.spec, len(bad), bounded.OneLine(strings.Join(bad, ", ")))
	}
	if len(refs) == 0 {
		if len(others) > 0 {
			return nil, kernel.Usagef("kernel source %q: it has no image for %s", s.spec, s.arch)
		}
		return nil, kernel.Usagef("kernel source %q: the repository has no image", s.spec)
	}
	if len(others) > 0 {
		s.cache.Warnf("%s: %d tags are left out, as they have no image for %s: %s", s.spec, len(others), s.arch, bounded.OneLine(strings.Join(others, ", ")))
	}
	return kernel.SortRefs(refs), nil
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

// found is what a tag turned out to be.
type found struct {
	ref   kernel.Ref
	other bool // it has no image for this architecture
	err   error
}

// resolve pins the image that a tag has for this architecture.
func (s *source) resolve(ctx context.Context, ref name.Reference) found {
	desc, err := remote.Get(ref, s.options(ctx)...)
	if err != nil {
		return found{err: err}
	}
	out := kernel.Ref{
		Distro: kernel.SafeName("oci-" + path.Base(s.repo.RepositoryStr())),
		Name:   kernel.SafeName(strings.TrimPrefix(ref.Identifier(), kernel.DigestPrefix)),
		Digest: desc.Digest.String(),
	}
	if r := unpack.ReleaseOf(ref.Identifier()); releaseTag.MatchString(r) {
		out.Release = r
	}
	switch {
	case desc.MediaType.IsIndex():
		index, err := desc.ImageIndex()
		if err != nil {
			return found{err: err}
		}
		manifest, err := index.IndexManifest()
		if err != nil {
			return found{err: fmt.Errorf("%w: %w", errNoImage, err)}
		}
		if len(manifest.Manifests) > maxPlatforms {
			return found{err: &bounded.LimitError{What: fmt.Sprintf("number of images in %s", ref), Limit: maxPlatforms}}
		}
		child := forArch(manifest.Manifests, s.arch)
		if child == nil {
			return found{other: true}
		}
		out.Digest, out.Arch = child.Digest.String(), s.arch
	case desc.MediaType.IsImage():
		im, err := desc.Image()
		if err != nil {
			return found{err: err}
		}
		manifest, err := im.Manifest()
		if err != nil {
			return found{err: fmt.Errorf("%w: %w", errNoImage, err)}
		}
		out.Size = layersSize(manifest)
	default:
		return found{err: fmt.Errorf("%w: its media type is %q", errNoImage, desc.MediaType)}
	}
	if _, err := kernel.DigestHex(out.Digest); err != nil {
		return found{err: err}
	}
	if s.pick != "" {
		out.Name, out.Release = kernel.SafeName(s.pick+"__"+out.Name), s.pick
		out.Digest, out.Locator = pickDigest(out.Digest, s.pick), out.Digest+"#"+s.pick
	}
	return found{ref: out}
}

// pickDigest is that of one of the kernels of an image.
func pickDigest(digest, release string) string { return kernel.DigestOfAll([]string{digest, release}) }

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
func (s *source) Open(ctx context.Context, ref kernel.Ref) (*kernel.Image, error) {
	digest, pick, picked := strings.Cut(ref.Locator, "#")
	if !picked {
		digest = ref.Digest
	}
	_, err := kernel.DigestHex(digest)
	if picked && err == nil && pickDigest(digest, pick) != ref.Digest {
		err = &kernel.DigestError{What: "its locator", Want: ref.Digest, Got: pickDigest(digest, pick)}
	}
	if err != nil {
		return nil, &kernel.BadKernelError{ID: ref.ID(), Err: err}
	}
	im, err := s.cache.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		im, err := remote.Image(s.repo.Digest(digest), s.options(ctx)...)
		if err != nil {
			return kernel.Contents{}, s.fail(ctx, err)
		}
		var made kernel.Contents
		layers, err := s.layers(im, ref)
		if err == nil {
			made, err = unpackImage(ctx, dir, pick, layers)
		}
		if several := (*unpack.SeveralError)(nil); errors.As(err, &several) {
			k := several.Kernels[len(several.Kernels)-1]
			err = fmt.Errorf("%w: choose one by its release or file behind the tag, as in #%s", err, cmp.Or(k.Release, k.Name))
		}
		switch {
		case err == nil:
			return made, nil
		case ctx.Err() != nil || isNetwork(err):
			return kernel.Contents{}, s.fail(ctx, err)
		}
		return kernel.Contents{}, &kernel.BadKernelError{ID: ref.ID(), Err: err}
	}, func(dir string) []kernel.Archive {
		return []kernel.Archive{unpack.Tar(filepath.Join(dir, archiveFile))}
	})
	if err != nil {
		return nil, kernel.OpenError(ref, err)
	}
	return im, nil
}

// layers returns the image's layers, lowest first.
func (s *source) layers(im v1.Image, ref kernel.Ref) ([]layer, error) {
	manifest, err := im.Manifest()
	if err != nil {
		return nil, err
	}
	total := layersSize(manifest)
	if len(manifest.Layers) > maxLayers {
		return nil, &bounded.LimitError{What: "number of layers", Limit: maxLayers}
	}
	if total > unpack.MaxArchive {
		return nil, &bounded.LimitError{What: "size of the layers", Limit: unpack.MaxArchive}
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
				s.cache.Fetched(ref, done, total)
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
func (s *source) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", s.spec, context.Cause(ctx))
	}
	var e *transport.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", s.spec, err)
	}
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: the registry %s does not let you read it: check the name, or log in with docker login: %s", s.spec, s.repo.RegistryStr(), bounded.OneLine(e.Error()))
	case http.StatusNotFound:
		return kernel.Usagef("%s %q: the registry %s does not have it: %s", s.what, s.spec, s.repo.RegistryStr(), bounded.OneLine(e.Error()))
	}
	return fmt.Errorf("%s: %s", s.spec, bounded.OneLine(e.Error()))
}

// openLayer decompresses a layer by content. Its Close reads the blob to its
// end, so that the blob's digest is checked.
func openLayer(ctx context.Context, blob io.ReadCloser) (io.ReadCloser, error) {
	r, err := unpack.OpenTar(bounded.Reader(ctx, blob))
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
	if _, rerr := bounded.Copy(l.ctx, io.Discard, l.blob, unpack.MaxArchive, "size of a layer"); err == nil {
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
