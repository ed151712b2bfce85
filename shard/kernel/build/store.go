package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// store keeps what is built, one directory per key:
//
//	<hex>/   kernel.json, image, config
type store struct{ dir string }

// stored is kernel.json.
type stored struct {
	Tree    string `json:"tree"` // its name
	Release string `json:"release"`
	Source  string `json:"source"` // where it was built from, for people
	Digest  string `json:"digest"` // of the image, "sha256:<hex>"
}

// format changes with the way that kernels are built.
const format = 2

// key is what a kernel depends on.
func (b *Builder) key(k *Kernel, toolchain string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s\n%s\n%s %s %s\n", format, k.id, toolchain, k.recipe.Arch.Name, k.recipe.Base, k.recipe.Modules)
	for _, o := range k.recipe.Options {
		fmt.Fprintln(h, o)
	}
	fmt.Fprintf(h, "%q\n", b.Make)
	for _, p := range k.patch {
		fmt.Fprintf(h, "%d\n%s", len(p.Data), p.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// find fills k in from the store and says whether it is there, whole. The name
// of a tag is the tag's: two may be of one commit.
func (s store) find(ctx context.Context, k *Kernel) bool {
	dir := filepath.Join(s.dir, k.key)
	b, err := os.ReadFile(filepath.Join(dir, "kernel.json"))
	if err != nil {
		return false
	}
	var rec stored
	image := filepath.Join(dir, "image")
	if json.Unmarshal(b, &rec) != nil || rec.Tree == "" {
		return false
	}
	st, err := os.Stat(image)
	if err != nil {
		return false
	}
	if digest, err := kernel.HashFile(ctx, image); err != nil || digest != rec.Digest {
		return false
	}
	if _, err := os.Stat(filepath.Join(dir, "config")); err != nil {
		return false
	}
	k.name(rec.Tree)
	k.Release, k.Image, k.Config, k.Size = rec.Release, image, filepath.Join(dir, "config"), st.Size()
	return true
}

// add moves a kernel into the store. The directory tmp is on its file system.
func (s store) add(ctx context.Context, k *Kernel, image, config, tmp string) error {
	digest, err := kernel.HashFile(ctx, image)
	if err != nil {
		return fmt.Errorf("keep the image: %w", err)
	}
	rec, err := json.Marshal(stored{k.tree, k.Release, k.Source, digest})
	if err != nil {
		return fmt.Errorf("keep the image: %w", err)
	}
	dir := filepath.Join(tmp, "keep")
	dst := filepath.Join(s.dir, k.key)
	err = errors.Join(os.MkdirAll(s.dir, 0o755), os.Mkdir(dir, 0o755))
	if err == nil {
		err = errors.Join(
			os.Rename(image, filepath.Join(dir, "image")),
			os.Rename(config, filepath.Join(dir, "config")),
			os.WriteFile(filepath.Join(dir, "kernel.json"), append(rec, '\n'), 0o644),
		)
	}
	if err == nil {
		// What is there already was found broken, or another process has just
		// built the same.
		err = os.RemoveAll(dst)
	}
	if err == nil {
		err = os.Rename(dir, dst)
	}
	if err != nil {
		return fmt.Errorf("keep the image: %w", err)
	}
	if !s.find(ctx, k) {
		return fmt.Errorf("keep the image: what was written to %s is not what is there", dst)
	}
	return nil
}
