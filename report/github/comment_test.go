package github

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// mark is a comment's marker line.
func mark(run int64, attempt int) string {
	return marker{kindComment, DefaultName, run, attempt, headSHA}.String() + "\n"
}

const bot = "github-actions[bot]"

func TestComment(t *testing.T) {
	ours := mark(500, 2) + red().Body
	other := marker{kindComment, "arm64", 400, 1, headSHA}.String() + "\nof another check"
	var many []commentRow
	for i := range 250 {
		many = append(many, commentRow{ID: int64(i + 1), Issue: 7, Author: "alice", Body: "chat"})
	}
	for name, tt := range map[string]struct {
		have  []commentRow
		setup func(*fake)
		want  []string // bodies
		done  string
	}{
		"first": {want: []string{ours}, done: "commented on #7"},
		"update in place": {
			have: []commentRow{{ID: 1, Issue: 7, Author: "alice", Body: "hi"}, {ID: 2, Issue: 7, Author: bot, Body: mark(499, 9) + "old"}, {ID: 3, Issue: 7, Author: "bob", Body: "ho"}},
			want: []string{"hi", ours, "ho"}, done: "commented on #7",
		},
		"same attempt again": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(500, 2) + "old"}},
			want: []string{ours}, done: "commented on #7",
		},
		"another check's stays": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: other}},
			want: []string{other, ours}, done: "commented on #7",
		},
		"somebody else's marker": {
			have: []commentRow{{ID: 2, Issue: 7, Author: "mallory", Body: mark(999, 1) + "all green"}},
			want: []string{mark(999, 1) + "all green", ours}, done: "commented on #7",
		},
		"marker that is not at the beginning": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: "> " + mark(400, 1)}, {ID: 3, Issue: 7, Author: bot, Body: "\n" + mark(400, 1)}},
			want: []string{"> " + mark(400, 1), "\n" + mark(400, 1), ours}, done: "commented on #7",
		},
		"of another kind": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: strings.Replace(mark(400, 1), kindComment, kindNote, 1)}},
			want: []string{strings.Replace(mark(400, 1), kindComment, kindNote, 1), ours}, done: "commented on #7",
		},
		"another pull request's": {
			have: []commentRow{{ID: 2, Issue: 8, Author: bot, Body: mark(400, 1)}},
			want: []string{mark(400, 1), ours}, done: "commented on #7",
		},
		"newer run": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(501, 1) + "newer"}},
			want: []string{mark(501, 1) + "newer"}, done: "the comment on #7 is of the newer run 501 and stays",
		},
		"newer attempt": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(500, 3) + "newer"}},
			want: []string{mark(500, 3) + "newer"}, done: "the comment on #7 is of the newer run 500 and stays",
		},
		"the head moved on": {
			have:  []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(400, 1) + "older"}},
			setup: func(f *fake) { f.Pulls[0].SHA = laterSHA },
			want:  []string{mark(400, 1) + "older"},
			done:  "no comment on #7: it has moved on from 6dcb09b5b578 to 222222222222",
		},
		"many pages": {
			have: append(slices.Clone(many), commentRow{ID: 900, Issue: 7, Author: bot, Body: mark(400, 1) + "old"}),
			want: append(slices.Repeat([]string{"chat"}, 250), ours), done: "commented on #7",
		},
		"extras are deleted": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(400, 1)}, {ID: 3, Issue: 7, Author: bot, Body: mark(450, 1)}, {ID: 4, Issue: 7, Author: bot, Body: mark(450, 1)}, {ID: 5, Issue: 7, Author: bot, Body: other}},
			want: []string{ours, other}, done: "commented on #7",
		},
		"token of a person": {
			have:  []commentRow{{ID: 1, Issue: 7, Author: bot, Body: mark(400, 1)}, {ID: 2, Issue: 7, Author: "Alice", Body: mark(400, 1)}},
			setup: func(f *fake) { f.App, f.Login = false, "alice" },
			want:  []string{mark(400, 1), ours}, done: "commented on #7",
		},
		"token of an app": {
			have:  []commentRow{{ID: 1, Issue: 7, Author: bot, Body: mark(400, 1)}, {ID: 2, Issue: 7, Author: "farm[bot]", Body: mark(400, 1)}},
			setup: func(f *fake) { f.Login = "farm[bot]" },
			want:  []string{mark(400, 1), ours}, done: "commented on #7",
		},
		"no graphql, and the answer tells who one is": {
			have: []commentRow{{ID: 2, Issue: 7, Author: "farm[bot]", Body: mark(400, 1)}},
			setup: func(f *fake) {
				f.Login = "farm[bot]"
				f.Script = func(_, path string) (int, http.Header, string) {
					if path == "/graphql" {
						return http.StatusForbidden, nil, `{"message":"no"}`
					}
					return 0, nil, ""
				}
			},
			want: []string{ours}, done: "commented on #7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.Comments = tt.have
				if tt.setup != nil {
					tt.setup(f)
				}
				cfg := pullJob(t)
				cfg.Comment = true
				want(t, "outcome", publish(t, f, cfg, red()), Outcome{Done: []string{tt.done}})
				want(t, "comments", bodies(f), tt.want)
			})
		})
	}
}

// GitHub refuses what is too long; the marker counts.
func TestCommentLimit(t *testing.T) {
	for text, whole := range map[string]bool{strings.Repeat("😀", MaxBody/2): true, strings.Repeat("😀", maxComment/2): false} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			cfg := pullJob(t)
			cfg.Comment = true
			c := red()
			c.Body = text
			want(t, "warnings", publish(t, f, cfg, c).Warnings, []string(nil))
			if len(f.Comments) != 1 {
				t.Fatalf("%d comments", len(f.Comments))
			}
			body := f.Comments[0].Body
			_, ok := parseMarker(body)
			if n := report.UTF16Len(body); !ok || n > maxComment || strings.HasSuffix(body, "😀") != whole {
				t.Errorf("%d characters, it begins %.100q and ends %.100q", n, body, body[max(0, len(body)-100):])
			}
			if !whole && !strings.HasSuffix(body, "\nThe result is too long: [the run](https://github.com/octo/probe/actions/runs/500/attempts/2) has it.") {
				t.Errorf("it ends %.100q", body[max(0, len(body)-100):])
			}
		})
	}
}

// Others write between looking and writing.
func TestCommentRaces(t *testing.T) {
	ours := mark(500, 2) + red().Body
	for name, tt := range map[string]struct {
		have []commentRow
		race func(f *fake, method string) // once, when the first write of this method was done
		want []string
		done string
	}{
		"an older run creates too": {
			race: func(f *fake, method string) {
				f.Comments = append(f.Comments, commentRow{ID: 5000, Issue: 7, Author: bot, Body: mark(499, 1)})
			},
			want: []string{ours}, done: "commented on #7",
		},
		"a newer run creates too": {
			race: func(f *fake, method string) {
				f.Comments = append(f.Comments, commentRow{ID: 5000, Issue: 7, Author: bot, Body: mark(501, 1)})
			},
			// That run will look again, and go on with the first one.
			want: []string{ours, mark(501, 1)}, done: "the comment on #7 is of the newer run 501 and stays",
		},
		"a newer run has created before": {
			race: func(f *fake, method string) {
				f.Comments = slices.Insert(f.Comments, 0, commentRow{ID: 3, Issue: 7, Author: bot, Body: mark(501, 1)})
			},
			want: []string{mark(501, 1)}, done: "the comment on #7 is of the newer run 501 and stays",
		},
		"an older run has created before": {
			race: func(f *fake, method string) {
				f.Comments = slices.Insert(f.Comments, 0, commentRow{ID: 3, Issue: 7, Author: bot, Body: mark(499, 1)})
			},
			want: []string{ours}, done: "commented on #7",
		},
		"the same run creates too": {
			race: func(f *fake, method string) {
				f.Comments = append(f.Comments, commentRow{ID: 5000, Issue: 7, Author: bot, Body: ours})
			},
			want: []string{ours}, done: "commented on #7",
		},
		"a newer run deletes this one": {
			race: func(f *fake, method string) {
				f.Comments = []commentRow{{ID: 5000, Issue: 7, Author: bot, Body: mark(501, 1)}}
			},
			want: []string{mark(501, 1)}, done: "the comment on #7 is of the newer run 501 and stays",
		},
		"an older run writes over it": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(400, 1)}},
			race: func(f *fake, method string) { f.Comments[0].Body = mark(499, 1) + "slow" },
			want: []string{ours}, done: "commented on #7",
		},
		"a newer run writes over it": {
			have: []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(400, 1)}},
			race: func(f *fake, method string) { f.Comments[0].Body = mark(501, 1) + "fast" },
			want: []string{mark(501, 1) + "fast"}, done: "the comment on #7 is of the newer run 501 and stays",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.Comments = tt.have
				var once sync.Once
				f.After = func(method, path string) {
					if method != http.MethodGet {
						once.Do(func() { tt.race(f, method) })
					}
				}
				cfg := pullJob(t)
				cfg.Comment = true
				want(t, "outcome", publish(t, f, cfg, red()), Outcome{Done: []string{tt.done}})
				want(t, "comments", bodies(f), tt.want)
			})
		})
	}
}

// A comment that someone deletes between looking and writing is made anew.
func TestCommentDeletedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.Comments = []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(400, 1)}}
		f.Script = func(method, path string) (int, http.Header, string) {
			if method != http.MethodPatch {
				return 0, nil, ""
			}
			f.Comments = nil
			return http.StatusNotFound, nil, `{"message":"Not Found"}`
		}
		cfg := pullJob(t)
		cfg.Comment = true
		want(t, "outcome", publish(t, f, cfg, red()), Outcome{Done: []string{"commented on #7"}})
		want(t, "comments", bodies(f), []string{mark(500, 2) + red().Body})
	})
}

// Several runs comment at the same time, each with a network of its own speed.
// One comment is left, whole, and nearly always it is the newest run's: when
// several write over the same one, GitHub gives no means to rule out that the
// slowest has the last word.
func TestCommentersTogether(t *testing.T) {
	const seeds = 40
	newest := 0
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex
			f := newFake(t)
			f.Lag = func() time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(random.IntN(500)) * time.Millisecond
			}
			if seed%2 == 0 {
				f.Comments = []commentRow{{ID: 2, Issue: 7, Author: bot, Body: mark(400, 1)}}
			}
			tr := f.Transport()
			var wg sync.WaitGroup
			for run := range int64(4) {
				wg.Go(func() {
					cfg := pullJob(t)
					cfg.Comment, cfg.Transport = true, tr
					cfg.Env.RunID = 500 + run
					time.Sleep(2 * f.Lag())
					c := red()
					c.Body = fmt.Sprintln("run", 500+run)
					if out := Publish(t.Context(), cfg, c); out.Warnings != nil {
						t.Errorf("seed %d, run %d: %v", seed, 500+run, out)
					}
				})
			}
			wg.Wait()
			if len(f.Comments) != 1 {
				t.Fatalf("seed %d: %q", seed, bodies(f))
			}
			m, ok := parseMarker(f.Comments[0].Body)
			if !ok || !strings.HasSuffix(f.Comments[0].Body, fmt.Sprintf("\nrun %d\n", m.Run)) {
				t.Errorf("seed %d: %q", seed, f.Comments[0].Body)
			}
			if m.Run == 503 {
				newest++
			}
		})
	}
	t.Logf("the newest run had the last word in %d of %d", newest, seeds)
	if newest < seeds*8/10 {
		t.Errorf("the newest run had the last word in %d of %d only", newest, seeds)
	}
}
