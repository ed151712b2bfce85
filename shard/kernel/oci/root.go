package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Root is an image whose layers make a root file system.
type Root struct {
	// Digest is that of the image's manifest, or the one that the user pins it by:
	// what has it never changes. "" for an image of a file.
	Digest string

	source *source
	layers []layer
	arch   string
}

// FindRoot finds an image of a registry, "//<repository>[:<tag>|@<digest>]". It
// asks the registry unless a digest is given.
func FindRoot(ctx context.Context, spec, rest, arch string, cache *kernel.Cache) (*Root, error) {
	s := &source{what: "--rootfs", spec: spec, arch: arch, cache: cache, now: time.Now}
	if err := s.parse(rest, "oci://docker.io/library/debian:bookworm"); err != nil {
		return nil, err
	}
	if s.ref == nil {
		s.ref = s.repo.Tag(name.DefaultTag)
	}
	root := &Root{source: s}
	if pinned, ok := s.ref.(name.Digest); ok {
		root.Digest = pinned.DigestStr()
		return root, nil
	}
	ref, err := s.rootRef(ctx)
	root.Digest = ref.Digest
	return root, err
}

func (s *source) rootRef(ctx context.Context) (kernel.Ref, error) {
	f := s.resolve(ctx, s.ref)
	if f.other {
		return kernel.Ref{}, kernel.Usagef("--rootfs %q: it has no image for %s: name another one", s.spec, s.arch)
	}
	if f.err != nil {
		return kernel.Ref{}, s.fail(ctx, f.err)
	}
	return f.ref, nil
}

// Layers calls fn with each layer, the lowest first, and returns the image's
// architecture, "" where it does not say. What the bytes should be has been
// compared with their digests when it returns without error.
func (r *Root) Layers(ctx context.Context, fn func(io.Reader) error) (arch string, err error) {
	if r.source != nil {
		if err := r.find(ctx); err != nil {
			return "", err
		}
	}
	for i, open := range r.layers {
		l, err := open(ctx)
		if err == nil {
			err = errors.Join(fn(l), l.Close())
		}
		if err != nil && r.source != nil && (ctx.Err() != nil || isNetwork(err)) {
			return "", r.source.fail(ctx, err)
		}
		if err != nil {
			return "", fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return r.arch, nil
}

// find asks the registry for the image.
func (r *Root) find(ctx context.Context) error {
	s := r.source
	ref, err := s.rootRef(ctx)
	if err != nil {
		return err
	}
	im, err := remote.Image(s.repo.Digest(ref.Digest), s.options(ctx)...)
	if err != nil {
		return s.fail(ctx, err)
	}
	config, err := im.ConfigFile()
	if err != nil {
		return s.fail(ctx, err)
	}
	r.arch = config.Architecture
	r.layers, err = s.layers(im, ref)
	return err
}

// maxManifest caps a description in a layout, in bytes, as registries do.
const maxManifest = 4 << 20

// Blobs opens a file of an OCI layout or of what docker save writes.
type Blobs func(name string) (io.ReadCloser, error)

// LocalRoot finds the image for an architecture in an OCI layout, or in what
// docker save writes. It is nil where there is neither.
func LocalRoot(open Blobs, arch string) (*Root, error) {
	index, err := open.read("index.json", "")
	if err == nil {
		if _, err := open.read("oci-layout", ""); err == nil {
			return open.layout(index, arch, 0)
		}
	}
	saved, err := open.read("manifest.json", "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var images []struct {
		Config string
		Layers []string
	}
	if err == nil {
		err = json.Unmarshal(saved, &images)
	}
	if err != nil || len(images) == 0 || images[0].Config == "" {
		return nil, nil // a root may have a file of this name
	}
	if len(images) > 1 {
		return nil, fmt.Errorf("it holds %d images: save one", len(images))
	}
	root := &Root{}
	if root.arch, err = open.arch(images[0].Config, ""); err != nil {
		return nil, err
	}
	for _, l := range images[0].Layers {
		root.layers = append(root.layers, open.layer(l, ""))
	}
	return root, root.check()
}

// layout reads an index and what it names, until that is an image.
func (open Blobs) layout(index []byte, arch string, depth int) (*Root, error) {
	list, err := v1.ParseIndexManifest(bytes.NewReader(index))
	if err != nil {
		return nil, fmt.Errorf("index of the image: %w", err)
	}
	if len(list.Manifests) > maxPlatforms || depth > 2 {
		return nil, &bounded.LimitError{What: "number of images in it", Limit: maxPlatforms}
	}
	chosen := forArch(list.Manifests, arch)
	if chosen == nil && len(list.Manifests) == 1 && list.Manifests[0].Platform == nil {
		chosen = &list.Manifests[0]
	}
	if chosen == nil {
		return nil, fmt.Errorf("it has no image for %s, or several without saying for what: name one that has", arch)
	}
	b, err := open.read(blobPath(chosen.Digest), chosen.Digest.Hex)
	if err != nil {
		return nil, err
	}
	if chosen.MediaType.IsIndex() {
		return open.layout(b, arch, depth+1)
	}
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("manifest of the image: %w", err)
	}
	root := &Root{}
	if root.arch, err = open.arch(blobPath(m.Config.Digest), m.Config.Digest.Hex); err != nil {
		return nil, err
	}
	for _, l := range m.Layers {
		root.layers = append(root.layers, open.layer(blobPath(l.Digest), l.Digest.Hex))
	}
	return root, root.check()
}

func (r *Root) check() error {
	if len(r.layers) > maxLayers {
		return &bounded.LimitError{What: "number of layers", Limit: maxLayers}
	}
	return nil
}

func blobPath(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// read returns a small file; sum is what it has to hash to, in hex, or "".
func (open Blobs) read(name, sum string) ([]byte, error) {
	r, err := open.open(name, sum)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	_, err = bounded.Copy(context.Background(), &b, r, maxManifest, fmt.Sprintf("size of %q", name))
	return b.Bytes(), err
}

func (open Blobs) arch(name, sum string) (string, error) {
	b, err := open.read(name, sum)
	if err != nil {
		return "", err
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return "", fmt.Errorf("configuration of the image: %w", err)
	}
	return config.Architecture, nil
}

func (open Blobs) layer(name, sum string) layer {
	return func(ctx context.Context) (io.ReadCloser, error) {
		r, err := open.open(name, sum)
		if err != nil {
			return nil, err
		}
		return openLayer(ctx, r)
	}
}

func (open Blobs) open(name, sum string) (io.ReadCloser, error) {
	r, err := open(name)
	if err != nil || sum == "" {
		return r, err
	}
	return &summed{ReadCloser: r, name: name, want: sum, h: sha256.New()}, nil
}

// summed compares a blob with its digest when it has ended.
type summed struct {
	io.ReadCloser
	name, want string
	h          hash.Hash
}

func (s *summed) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.h.Write(p[:n])
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if got := fmt.Sprintf("%x", s.h.Sum(nil)); got != s.want {
		return n, &kernel.DigestError{What: s.name, Want: kernel.DigestPrefix + s.want, Got: kernel.DigestPrefix + got}
	}
	return n, err
}
