//go:build ignore

// Pack replaces the programs of a directory by compressed ones, the same bytes
// for the same programs: what [guest.Program] unpacks. "make programs" calls it.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

func main() {
	for _, dir := range os.Args[1:] {
		if err := pack(dir); err != nil {
			fmt.Fprintln(os.Stderr, "pack:", err)
			os.Exit(1)
		}
	}
}

func pack(dir string) error {
	dict, err := os.ReadFile(filepath.Join(dir, "init"))
	if err != nil {
		return err
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Join(dir, f.Name())
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		opts := []zstd.EOption{
			zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(16 << 20), // reaches over a program and init
		}
		if f.Name() != "init" {
			opts = append(opts, zstd.WithEncoderDictRaw(1, dict))
		}
		enc, err := zstd.NewWriter(nil, opts...)
		if err != nil {
			return err
		}
		if err := os.WriteFile(name+".zst", enc.EncodeAll(b, nil), 0o644); err != nil {
			return err
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return nil
}
