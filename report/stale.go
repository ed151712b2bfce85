package report

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

var shardFileRE = regexp.MustCompile(`^shard-\d{3,}-of-\d{3,}\.attempt-\d+\.ndjson$`)

// SetAside renames the shard files in dir that belong to another run than p's,
// by adding ".old" to their names: merge would find them and could not make one
// result of both. Shards and attempts of the same run stay, and so does what
// is no shard file. It returns the names that the files had.
func SetAside(dir string, p Plan) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for shard files of earlier runs: %w", err)
	}
	var moved []string
	for _, e := range entries {
		if !e.Type().IsRegular() || !shardFileRE.MatchString(e.Name()) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		old, err := readPlanRecord(path)
		if err != nil || old.sameRun(p) {
			continue
		}
		if err := os.Rename(path, path+".old"); err != nil {
			return moved, fmt.Errorf("set the shard file of an earlier run aside: %w", err)
		}
		moved = append(moved, e.Name())
	}
	return moved, nil
}

// sameRun says whether two shards can be merged.
func (p Plan) sameRun(q Plan) bool {
	return p.Schema == Schema && p.RunID == q.RunID && p.HeadSHA == q.HeadSHA && p.Payload == q.Payload && p.Arch == q.Arch &&
		p.List == q.List && p.Algorithm == q.Algorithm && p.Shards == q.Shards &&
		p.Expect == q.Expect && p.Repeat == q.Repeat && p.Rerun == q.Rerun && p.FlakyOK == q.FlakyOK
}

// readPlanRecord reads the first record of a shard file.
func readPlanRecord(path string) (Plan, error) {
	f, err := os.Open(path)
	if err != nil {
		return Plan{}, err
	}
	defer f.Close()
	b, err := bufio.NewReader(io.LimitReader(f, maxPlanRecord)).ReadBytes('\n')
	if err != nil {
		return Plan{}, err
	}
	var l Record
	if err := decode(b, &l); err != nil {
		return Plan{}, err
	}
	if l.Type != "plan" || l.Plan == nil {
		return Plan{}, errors.New("the first record is no plan")
	}
	return *l.Plan, nil
}

const maxPlanRecord = 64 << 20 // bytes
