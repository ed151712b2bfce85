package github

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	gh "github.com/google/go-github/v62/github"
)

// rounds is how often a comment is looked at and written when others write too. Each
// of them can cost the newest run one, and the last one only looks.
const rounds = 10

// found is a comment or an issue of one's own.
type found struct {
	marker
	id   int64  // of a comment; an issue's number
	open bool   // of an issue
	text string // of an issue
}

// newest is the one of the latest run.
func newest(all []found) (best found, ok bool) {
	for i, f := range all {
		if i == 0 || f.newer(best.marker) {
			best = f
		}
	}
	return best, len(all) > 0
}

// first is the one that was made first.
func first(all []found) (best found, ok bool) {
	for i, f := range all {
		if i == 0 || f.id < best.id {
			best = f
		}
	}
	return best, len(all) > 0
}

// comment writes the one comment of this check on a pull request: it makes it
// or replaces its text in place. done says what was done, for people.
//
// GitHub cannot compare and swap, so it looks again after having written. Of
// several comments the first counts: whoever makes one and then looks sees all
// that were made before, so all agree on it, and any other may be deleted by
// anyone. Where a slower writer of an older run has written over this one, it
// is written again.
func (p *publisher) comment(ctx context.Context, pr int) (done string, err error) {
	if moved, err := p.moved(ctx, pr); err != nil || moved != "" {
		return moved, err
	}
	me, err := p.api.viewer(ctx)
	if err != nil {
		return "", err
	}
	mine := p.marker(kindComment)
	body := p.body(mine, p.content.Body)
	var made []found // that the list may not show yet
	tried := false
	for range rounds {
		// Not between looking and writing, where others could write.
		if err := p.api.pace(ctx); err != nil {
			return "", err
		}
		all, err := p.comments(ctx, pr, me)
		if err != nil {
			return "", err
		}
		for _, f := range made {
			if !slices.ContainsFunc(all, func(o found) bool { return o.id == f.id }) {
				all = append(all, f)
			}
		}
		the, exists := first(all)
		if last, ok := newest(all); ok && last.newer(mine) {
			p.deleteBut(ctx, made, the.id)
			return fmt.Sprintf("the comment on #%d is of the newer run %d and stays", pr, last.Run), nil
		}
		if exists && tried && the.marker == mine {
			p.deleteBut(ctx, all, the.id)
			return fmt.Sprintf("commented on #%d", pr), nil
		}
		tried = true
		if exists {
			_, _, err = p.api.Issues.EditComment(ctx, p.api.owner, p.api.repo, the.id, &gh.IssueComment{Body: &body})
			if status(err) == http.StatusNotFound {
				err = nil // someone deleted it since: the next round makes one
				made = slices.DeleteFunc(made, func(f found) bool { return f.id == the.id })
			}
		} else {
			var c *gh.IssueComment
			c, err = p.createComment(ctx, pr, body)
			if err == nil {
				me = c.GetUser().GetLogin()
				made = append(made, found{marker: mine, id: c.GetID()})
			} else if outcomeUnknown(err) && sleep(ctx, 2*time.Second) == nil {
				err = nil // it may have been made all the same: the list will tell
			}
		}
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("others write over it or delete it, and %d tries were not enough", rounds)
}

// moved says so when the pull request has a newer commit than the one that was
// tested. Its run will comment, and this one must not write over that.
func (p *publisher) moved(ctx context.Context, pr int) (string, error) {
	r, _, err := p.api.PullRequests.Get(ctx, p.api.owner, p.api.repo, pr)
	head := r.GetHead().GetSHA()
	if err != nil || head == p.origin.sha {
		return "", err
	}
	return fmt.Sprintf("no comment on #%d: it has moved on from %.12s to %.12s", pr, p.origin.sha, clip(head, 40)), nil
}

// comments lists the comments of this check that the token's owner wrote.
func (p *publisher) comments(ctx context.Context, pr int, me string) ([]found, error) {
	var all []found
	err := pages(func(o gh.ListOptions) (*gh.Response, error) {
		list, resp, err := p.api.Issues.ListComments(ctx, p.api.owner, p.api.repo, pr, &gh.IssueListCommentsOptions{ListOptions: o})
		for _, c := range list {
			m, ok := parseMarker(c.GetBody())
			if ok && m.Kind == kindComment && m.Name == p.cfg.Name && strings.EqualFold(c.GetUser().GetLogin(), me) {
				all = append(all, found{marker: m, id: c.GetID()})
			}
		}
		return resp, err
	})
	return all, err
}

func (p *publisher) createComment(ctx context.Context, pr int, body string) (*gh.IssueComment, error) {
	c, _, err := p.api.Issues.CreateComment(ctx, p.api.owner, p.api.repo, pr, &gh.IssueComment{Body: &body})
	return c, err
}

// deleteBut deletes one's own comments but one. Another run may do the same at
// this moment.
func (p *publisher) deleteBut(ctx context.Context, all []found, but int64) {
	for _, f := range all {
		if f.id == but {
			continue
		}
		_, err := p.api.Issues.DeleteComment(ctx, p.api.owner, p.api.repo, f.id)
		if err != nil && status(err) != http.StatusNotFound {
			p.warn("a second comment of this check stays: " + explain(err, "pull-requests: write"))
			return
		}
	}
}
