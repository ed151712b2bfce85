// Preflight-table holds what preflight says of BPF objects against what loading
// them on the same kernels has shown, and writes the table of right and wrong
// into .github/docs/preflight.md:
//
//	bpf-kernel-check run --objects 'corpus/*.bpf.o' --kernels debian:bookworm -o results
//	bpf-kernel-check preflight --objects 'corpus/*.bpf.o' --kernels debian:bookworm --json > said.json
//	go run ./.github/tools/preflight-table -said said.json results...
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

func main() {
	doc := flag.String("doc", ".github/docs/preflight.md", "file that gets the table, between its marks")
	said := flag.String("said", "", "what preflight --json has printed; several files with commas between them")
	wrong := flag.Bool("wrong", false, "name every program that preflight was wrong about")
	flag.Parse()
	t, err := compare(strings.Split(*said, ","), flag.Args())
	if err == nil {
		if *wrong {
			fmt.Print(strings.Join(t.wrong, ""))
		}
		err = t.write(*doc)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "preflight-table:", err)
		os.Exit(1)
	}
	fmt.Print(t)
}

// survey is what preflight prints.
type survey struct {
	Kernels []struct {
		ID      string `json:"id"`
		Objects []struct {
			Programs []struct {
				Name  string `json:"name"`
				Loads string `json:"loads"`
				Skip  string `json:"skip"`
			} `json:"programs"`
			Dependencies []struct {
				Kind     string   `json:"kind"`
				Name     string   `json:"name"`
				Programs []string `json:"programs"`
				Breaks   []string `json:"breaks"`
			} `json:"dependencies"`
		} `json:"objects"`
	} `json:"kernels"`
}

// counts are of programs on kernels.
type counts struct{ yesRight, yesWrong, verifier, noRight, noWrong, unknown int }

func (c *counts) add(said string, o outcome) {
	switch {
	case said == "unknown":
		c.unknown++
	case said == "no" && o == loaded:
		c.noWrong++
	case said == "no":
		c.noRight++
	case o == loaded:
		c.yesRight++
	case o == refused:
		c.verifier++
	default:
		c.yesWrong++
	}
}

// outcome is what came of a program.
type outcome int

const (
	loaded  outcome = iota
	refused         // by the verifier, for what the program does
	missing         // something
)

// dependency matches what is said of a program that lacks something: the rest of
// what the verifier refuses it refuses for what the program does.
var dependency = regexp.MustCompile(`unsupported|unknown (func|opcode|kfunc)|invalid func|calling kernel function|this kernel.* has no|CO-RE|relocation|\bBTF\b|reserved fields|notrace`)

func outcomeOf(t report.Test) outcome {
	switch {
	case t.Verdict == "pass":
		return loaded
	case strings.HasPrefix(t.Output, "rejected: ") && !dependency.MatchString(firstLine(t.Output)):
		return refused
	}
	return missing
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

type table struct {
	kernels  map[string]bool
	programs int
	all      counts
	kinds    map[string]*counts
	wrong    []string
}

func compare(said, results []string) (*table, error) {
	tests := map[string]report.Test{} // by kernel and test
	for _, dir := range results {
		m, err := report.FindReport(dir)
		if err != nil {
			return nil, err
		}
		if m == nil {
			return nil, fmt.Errorf("%s has no report.json", dir)
		}
		for _, k := range m.Kernels {
			for _, x := range k.Tests {
				tests[k.ID+" "+x.Name] = x
			}
		}
	}
	t := &table{kernels: map[string]bool{}, kinds: map[string]*counts{}}
	for _, name := range said {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var s survey
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t.add(s, tests)
	}
	if t.programs == 0 {
		return nil, fmt.Errorf("no program is in what preflight said and in the results")
	}
	return t, nil
}

func (t *table) add(s survey, tests map[string]report.Test) {
	for _, k := range s.Kernels {
		before := t.programs
		for _, o := range k.Objects {
			wants, lacks := map[string][]string{}, map[string][]string{} // kinds by program
			why := map[string][]string{}
			for _, d := range o.Dependencies {
				for _, p := range d.Programs {
					wants[p] = append(wants[p], d.Kind)
				}
				for _, p := range d.Breaks {
					lacks[p] = append(lacks[p], d.Kind)
					why[p] = append(why[p], d.Kind+" "+d.Name)
				}
			}
			for _, p := range o.Programs {
				test, ok := tests[k.ID+" "+p.Name]
				if !ok || p.Skip != "" || test.Verdict == "skip" && !strings.HasPrefix(test.Output, "unsupported") {
					continue
				}
				was, says := outcomeOf(test), p.Loads
				if strings.HasPrefix(test.Output, "loaded, and not attached") {
					was = loaded
				}
				t.programs++
				t.all.add(says, was)
				kinds := wants[p.Name]
				if says == "no" {
					kinds = lacks[p.Name]
				}
				slices.Sort(kinds)
				for _, kind := range slices.Compact(kinds) {
					c := t.kinds[kind]
					if c == nil {
						c = &counts{}
						t.kinds[kind] = c
					}
					c.add(says, was)
				}
				if says == "no" && was == loaded || says == "yes" && was == missing {
					t.wrong = append(t.wrong, fmt.Sprintf("%s %s: said %s (%s), and: %s %s\n", k.ID, p.Name, says, strings.Join(why[p.Name], ", "), test.Verdict, firstLine(test.Output)))
				}
			}
		}
		if t.programs > before {
			t.kernels[k.ID] = true
		}
	}
}

func (t *table) String() string {
	var b strings.Builder
	all := t.all
	fmt.Fprintf(&b, "%d programs' loads on %d kernels. \"Nothing missing\" was right %d times and wrong %d times; %d programs more the verifier refuses for what they do. \"Will not load\" was right %d times and wrong %d times: of all that was said, %.2f %% was wrong. Unknown were %d.\n\n",
		t.programs, len(t.kernels), all.yesRight, all.yesWrong, all.verifier, all.noRight, all.noWrong, 100*float64(all.yesWrong+all.noWrong)/float64(max(1, all.yesRight+all.yesWrong+all.noRight+all.noWrong)), all.unknown)
	fmt.Fprintln(&b, "| kind | nothing missing: right | wrong | the verifier's | will not load: right | wrong | unknown |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, kind := range slices.Sorted(maps.Keys(t.kinds)) {
		c := t.kinds[kind]
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d |\n", kind, c.yesRight, c.yesWrong, c.verifier, c.noRight, c.noWrong, c.unknown)
	}
	return b.String()
}

// write puts the table between its marks.
func (t *table) write(doc string) error {
	const begin, end = "<!-- begin table -->\n", "<!-- end table -->"
	b, err := os.ReadFile(doc)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(b), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks for the table", doc)
	}
	return os.WriteFile(doc, []byte(head+begin+t.String()+end+tail), 0o644)
}
