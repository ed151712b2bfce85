package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/index"
)

const (
	indexName = "index.bki"
	indexTime = 45 * time.Minute // to make it; the plan's job is to end after that
)

// kept names what actions/cache restores for an input that was not given.
func (s *actionStep) kept(input, dir, key string) []string {
	if s.in[input] != "" {
		return nil
	}
	return []string{input + "-dir", dir, input + "-key", key}
}

// index is the index that an earlier run kept; "" if there is none that this
// version reads.
func (s *actionStep) index(path string) string {
	if !exists(path) {
		return ""
	}
	x, err := index.Open(path)
	if err == nil {
		err = x.Close()
	}
	if err != nil {
		s.c.warn("the index of an earlier run is not used: " + err.Error())
		return ""
	}
	return path
}

// mayPick says whether kernels are picked: a list file can ask for that, too.
func (s *actionStep) mayPick() bool {
	return s.in["pick"] != "" || slices.ContainsFunc(s.in.list("kernels"), func(src string) bool { return strings.HasPrefix(src, "@") })
}

// forPlan adds the index and the report to pick by. Without an index, plan would
// fetch all kernels to tell their kinds; it gets one of no kernels.
func (s *actionStep) forPlan(in inputs) (indexed bool, err error) {
	in.setFile("base", s.base())
	if in["index"] == "" {
		in["index"] = s.index(filepath.Join(s.names.indexDir(), indexName))
	}
	if in["index"] != "" {
		return true, nil
	}
	f, err := os.CreateTemp(s.names.dir, "no-index-*.bki")
	if err != nil {
		return false, err
	}
	in["index"] = f.Name()
	return false, errors.Join(index.Write(f, func() (*index.Facts, error) { return nil, io.EOF }), f.Close())
}

// forRun adds the index, and the report to pick by. What a plan has picked is not
// picked again.
func (s *actionStep) forRun(in inputs) error {
	path := filepath.Join(s.names.indexDir(), indexName)
	if s.names.shard.shards > 0 {
		var err error
		if path, err = findArtifact(s.names.planDir(), indexName); err != nil {
			return err
		}
	}
	if in["index"] == "" {
		in["index"] = s.index(path)
	}
	if in["plan"] != "" {
		delete(in, "pick")
	} else if s.mayPick() {
		in.setFile("base", s.base())
	}
	return nil
}

// actionIndex brings the index that an earlier run kept up to date. Its outputs are
// the file, for the shards, and if it has changed the key to keep it by. No plan
// needs it: what goes wrong is a warning.
func actionIndex(ctx context.Context, s *actionStep) error {
	path := filepath.Join(s.names.indexDir(), indexName)
	before, _ := os.ReadFile(path) // none is empty
	if err := s.makeIndex(ctx, path); err != nil {
		s.notice("the index of kernels is not up to date: " + err.Error())
	}
	after, err := os.ReadFile(path)
	if err != nil {
		return nil // makeIndex has said why
	}
	pairs := []string{"index", path}
	if !bytes.Equal(before, after) {
		pairs = append(pairs, "save-key", fmt.Sprintf("%s%s%s", s.names.indexKey(), s.ci.id, s.names.suffix))
	}
	return s.set(pairs...)
}

func (s *actionStep) makeIndex(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if s.index(path) == "" {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	if err := s.c.install(ctx, missingSources(s.in)); err != nil {
		return err
	}
	args, err := s.in.args(s.c.indexCommand())
	if err != nil {
		return err
	}
	args = append([]string{"index", "--out=" + path}, args...)
	if dir := s.in["cache"]; dir != "" {
		args = append(args, "--cache="+dir)
	}
	err = s.exec(ctx, s.c, args...)
	var exit exitError
	if errors.As(err, &exit) {
		return errors.New("some kernels could not be read")
	}
	return err
}
