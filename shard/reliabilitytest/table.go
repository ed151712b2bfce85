// Package reliabilitytest keeps the table of what the VM runner stands: a row
// for each test of a hostile guest or a fault. The rows of a package's tests
// stand in its testdata, held to the tests by Check, and .github/docs joins
// them.
package reliabilitytest

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Row is one case.
type Row struct {
	Test    string `json:"test"`    // name of the test, as go test -run takes it
	Act     string `json:"act"`     // what the guest does, or what goes wrong
	Verdict string `json:"verdict"` // what comes of it
	Cause   string `json:"cause"`   // what the result says why; a regular expression, "" for a pass
}

// File is where the rows of a package stand, relative to it.
const File = "testdata/reliability.json"

// Updating says whether the test binary has a flag -update and it is given.
func Updating() bool {
	f := flag.Lookup("update")
	return f != nil && f.Value.String() == "true"
}

// Check holds name, one of the tables of a package's File, to its tests' rows.
// With -update it writes them.
func Check(t *testing.T, name string, rows []Row) {
	t.Helper()
	all, err := Read(File)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if Updating() {
		if all == nil {
			all = map[string][]Row{}
		}
		all[name] = rows
		b, err := json.MarshalIndent(all, "", "\t")
		if err == nil {
			err = os.MkdirAll(filepath.Dir(File), 0o755)
		}
		if err == nil {
			err = os.WriteFile(File, append(b, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(all[name], rows); d != "" {
		t.Errorf("%s, %s: not the rows of the tests; go test with -update writes them, then -run TestReliabilityTable -update in cmd/bpf-kernel-check (-file +tests):\n%s", File, name, d)
	}
}

// Read reads a file of tables, by name.
func Read(path string) (map[string][]Row, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all map[string][]Row
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return all, nil
}

// Markdown makes a table of rows.
func Markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("| what happens | verdict | the result says |\n| --- | --- | --- |\n")
	for _, r := range rows {
		cause := strings.Trim(r.Cause, "^$")
		if cause != "" {
			cause = "`" + strings.NewReplacer("|", `\|`, "`", "'", `\(`, "(", `\)`, ")").Replace(cause) + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.ReplaceAll(r.Act, "|", `\|`), r.Verdict, cause)
	}
	return b.String()
}
