package github

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const secondaryLimit = `{"message":"You have exceeded a secondary rate limit","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`

// header makes a header of pairs.
func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func in(d time.Duration) string { return strconv.FormatInt(time.Now().Add(d).Unix(), 10) }

// What GitHub answers at times, and what becomes of it.
func TestPatience(t *testing.T) {
	const readOnly = ": give the job `permissions: %s`; for pull requests from forks and of Dependabot the token is read-only, see Pull requests from forks in the documentation of publish"
	const used = "the rate limit is used up, and waiting for it would take too long"
	type answer = func(try int) (int, http.Header, string)
	for name, tt := range map[string]struct {
		answer  answer // to writes
		warning string // what follows "commit status not set: "; empty: it worked
		tries   int
		took    time.Duration // at least, and not a minute more
	}{
		"read-only": {
			answer: func(int) (int, http.Header, string) {
				return 403, nil, `{"message":"Resource not accessible by integration"}`
			},
			warning: "403 Resource not accessible by integration" + fmt.Sprintf(readOnly, "statuses: write"), tries: 1,
		},
		"no such repository": {
			answer:  func(int) (int, http.Header, string) { return 404, nil, `{"message":"Not Found"}` },
			warning: "404 Not Found" + fmt.Sprintf(readOnly, "statuses: write"), tries: 1,
		},
		"expired token": {
			answer:  func(int) (int, http.Header, string) { return 401, nil, `{"message":"Bad credentials"}` },
			warning: "401 Bad credentials: the token is not valid, or no longer", tries: 1,
		},
		"no such commit": {
			answer:  func(int) (int, http.Header, string) { return 422, nil, `{"message":"No commit found for SHA: x"}` },
			warning: "422 No commit found for SHA: x", tries: 1,
		},
		"hostile message": {
			answer: func(int) (int, http.Header, string) {
				return 422, nil, `{"message":"a\n::error::b` + strings.Repeat("x", 1000) + `"}`
			},
			warning: "422 a ::error::b" + strings.Repeat("x", 185) + "...", tries: 1,
		},
		"503 once": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 503, nil, "<html>"
				}
				return 0, nil, ""
			},
			tries: 2, took: 2 * time.Second,
		},
		"502 always": {
			answer:  func(int) (int, http.Header, string) { return 502, nil, "<html>" },
			warning: "502 ", tries: 4, took: 14 * time.Second,
		},
		"429 with a time": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 429, header("Retry-After", "17"), ""
				}
				return 0, nil, ""
			},
			tries: 2, took: 17 * time.Second,
		},
		"403 with a time": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 403, header("Retry-After", "5"), `{"message":"slow down"}`
				}
				return 0, nil, ""
			},
			tries: 2, took: 5 * time.Second,
		},
		"429 without a time": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 429, nil, ""
				}
				return 0, nil, ""
			},
			tries: 2, took: time.Minute,
		},
		"429 with a time too far": {
			answer:  func(int) (int, http.Header, string) { return 429, header("Retry-After", "300"), "" },
			warning: used, tries: 1,
		},
		"429 with a mad time": {
			answer:  func(int) (int, http.Header, string) { return 429, header("Retry-After", "-99999999999999999999"), "" },
			warning: used, tries: 2, took: time.Minute,
		},
		"secondary limit with a time": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 403, header("Retry-After", "30"), secondaryLimit
				}
				return 0, nil, ""
			},
			tries: 2, took: 30 * time.Second,
		},
		"secondary limit without a time": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 403, nil, secondaryLimit
				}
				return 0, nil, ""
			},
			tries: 2, took: time.Minute,
		},
		"secondary limit always": {
			answer:  func(int) (int, http.Header, string) { return 403, nil, secondaryLimit },
			warning: used, tries: 2, took: time.Minute,
		},
		"rate limit that ends soon": {
			answer: func(try int) (int, http.Header, string) {
				if try == 1 {
					return 403, header("X-RateLimit-Limit", "1000", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", in(20*time.Second)), `{"message":"API rate limit exceeded"}`
				}
				return 0, nil, ""
			},
			tries: 2, took: 20 * time.Second,
		},
		"rate limit that ends in half an hour": {
			answer: func(int) (int, http.Header, string) {
				return 403, header("X-RateLimit-Limit", "1000", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", in(30*time.Minute)), `{"message":"API rate limit exceeded"}`
			},
			warning: used, tries: 1,
		},
		"no answer": {
			answer:  func(int) (int, http.Header, string) { time.Sleep(time.Hour); return 200, nil, "" },
			warning: "no answer within 15s", tries: 4, took: 70 * time.Second,
		},
		"redirect elsewhere": {
			answer:  func(int) (int, http.Header, string) { return 307, header("Location", "https://evil.example/x"), "" },
			warning: `Post "https://evil.example/x": redirected to https://evil.example, where the token must not go`, tries: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				tries := 0
				f.Script = func(method, path string) (int, http.Header, string) {
					if method == http.MethodGet {
						return 0, nil, ""
					}
					f.Mu.Lock()
					tries++
					n := tries
					f.Mu.Unlock()
					return tt.answer(n)
				}
				cfg := pullJob(t)
				cfg.Status = true
				start := time.Now()
				out := publish(t, f, cfg, red())
				took := time.Since(start)
				time.Sleep(2 * time.Hour) // for a server that sleeps to come to its end
				if tt.warning == "" {
					want(t, "outcome", out, Outcome{Done: []string{"status of 6dcb09b5b578: failure"}})
				} else {
					want(t, "outcome", out, Outcome{Warnings: []string{"commit status not set: " + tt.warning}})
				}
				f.Mu.Lock()
				defer f.Mu.Unlock()
				if tries != tt.tries || took < tt.took || took > tt.took+time.Minute {
					t.Errorf("%d tries in %s, want %d in %s", tries, took, tt.tries, tt.took)
				}
				if !strings.Contains(readFile(t, cfg.Env.Summary), "3 kernels fail") || !strings.Contains(readFile(t, cfg.Env.Output), "verdict<<") {
					t.Error("summary or outputs are not there")
				}
			})
		})
	}
}

// Whatever GitHub does, each thing that was asked for is a line, and everything
// ends in time.
func TestNothingWorks(t *testing.T) {
	for name, script := range map[string]func(string, string) (int, http.Header, string){
		"403":  func(string, string) (int, http.Header, string) { return 403, nil, `{"message":"no"}` },
		"404":  func(string, string) (int, http.Header, string) { return 404, nil, `{"message":"no"}` },
		"410":  func(string, string) (int, http.Header, string) { return 410, nil, `{"message":"no"}` },
		"500":  func(string, string) (int, http.Header, string) { return 500, nil, "" },
		"202":  func(string, string) (int, http.Header, string) { return 202, nil, "" },
		"junk": func(string, string) (int, http.Header, string) { return 200, nil, `[{"id":"x"` },
		"429":  func(string, string) (int, http.Header, string) { return 429, header("Retry-After", "1"), "" },
		"limit": func(string, string) (int, http.Header, string) {
			return 403, nil, secondaryLimit
		},
		"no end of pages": func(_, path string) (int, http.Header, string) {
			if path == "/user" || path == "/graphql" {
				return 0, nil, ""
			}
			return 200, header("Link", `<https://api.github.com/x?page=1>; rel="next"`), "[]"
		},
		"pages without end": func(_, path string) (int, http.Header, string) {
			if path == "/user" || path == "/graphql" {
				return 0, nil, ""
			}
			return 200, header("Link", fmt.Sprintf(`<https://api.github.com/x?page=%d>; rel="next"`, time.Now().UnixNano())), "[]"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.Lag = func() time.Duration { return time.Millisecond }
				f.Script = script
				cfg := nightJob(t)
				cfg.Comment, cfg.Status, cfg.CheckRun, cfg.Issue = true, true, true, true
				start := time.Now()
				out := publish(t, f, cfg, red())
				if d := time.Since(start); d > totalTime {
					t.Errorf("it took %s", d)
				}
				if n := f.Asked("POST /repos/octo/probe/issues"); (name == "500" || name == "junk") && n > 1 {
					t.Errorf("the issue may have been opened %d times", n)
				}
				if n := len(f.Requests); name == "no end of pages" && n > 20 {
					t.Errorf("%d requests", n)
				}
				all := append(out.Warnings, out.Done...)
				if len(all) != 4 {
					t.Errorf("%d lines: %q", len(all), all)
				}
				for _, w := range all {
					if strings.ContainsAny(w, "\r\n") || strings.Contains(w, "secret") || len(w) > 500 {
						t.Errorf("line %q", w)
					}
				}
			})
		})
	}
}

// An issue that may have been opened is not opened again: the next run finds it.
func TestIssueThatMayHaveBeenOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.Script = func(method, path string) (int, http.Header, string) {
			if method == http.MethodPost && strings.HasSuffix(path, "/issues") {
				return 502, nil, ""
			}
			return 0, nil, ""
		}
		cfg := nightJob(t)
		cfg.Issue = true
		want(t, "outcome", publish(t, f, cfg, red()), Outcome{Warnings: []string{"tracking issue not kept: 502 "}})
		if n := f.Asked("POST /repos/octo/probe/issues"); n != 1 {
			t.Errorf("sent %d times", n)
		}
	})
}

// A comment that was made though the answer said otherwise is not made twice.
func TestCreateThatMayHaveHappened(t *testing.T) {
	for name, answer := range map[string]func() (int, http.Header, string){
		"502":       func() (int, http.Header, string) { return 502, nil, "" },
		"no answer": func() (int, http.Header, string) { time.Sleep(25 * time.Second); return 502, nil, "" },
	} {
		for _, happened := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " ", happened), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake(t)
					posts := 0
					f.Script = func(method, path string) (int, http.Header, string) {
						if method != http.MethodPost || !strings.HasSuffix(path, "/comments") {
							return 0, nil, ""
						}
						f.Mu.Lock()
						posts++
						again := posts > 1
						if !again && happened {
							f.Comments = append(f.Comments, commentRow{ID: 3, Issue: 7, Author: bot, Body: mark(500, 2) + red().Body})
						}
						f.Mu.Unlock()
						if again {
							return 0, nil, ""
						}
						return answer()
					}
					cfg := pullJob(t)
					cfg.Comment = true
					want(t, "outcome", publish(t, f, cfg, red()), Outcome{Done: []string{"commented on #7"}})
					time.Sleep(time.Minute) // for a server that sleeps to come to its end
					f.Mu.Lock()
					defer f.Mu.Unlock()
					want(t, "comments", bodies(f), []string{mark(500, 2) + red().Body})
					if happened && posts != 1 || posts > 2 {
						t.Errorf("it was sent %d times", posts)
					}
				})
			})
		}
	}
}

// A server that does not answer is a line, too, which names no repository.
func TestDescribeTokenNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := job(t, "push", "{}")
		lost := roundTrip(func(r *http.Request) (*http.Response, error) { return nil, fmt.Errorf("no route to %s", r.URL) })
		got := DescribeToken(t.Context(), e, lost)
		if !strings.HasPrefix(got, "does not read the repository: ") || !strings.Contains(got, "OWNER/NAME") || strings.Contains(got, e.Token) {
			t.Errorf("%q", got)
		}
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
