package github

import (
	"context"
	"fmt"
	"slices"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/elastic/bpf-kernel-check/report"
)

// Label is the label of tracking issues, by which they are found again.
const Label = "bpf-kernel-check"

// track keeps the tracking issue of this check: opened when the result is not
// green, commented on as long as it is not, closed when it is. done says what
// was done, for people.
func (p *publisher) track(ctx context.Context) (done string, err error) {
	me, err := p.api.viewer(ctx)
	if err != nil {
		return "", err
	}
	mine := p.marker(kindIssue)
	all, err := p.issues(ctx, me)
	if err != nil {
		return "", err
	}
	if last, ok := newest(all); ok && last.newer(mine) {
		return fmt.Sprintf("issue #%d is of the newer run %d and stays", last.id, last.Run), nil
	}
	the, ok := firstOpen(all)
	green := p.content.Verdict == report.Pass
	switch {
	case green && !ok:
		return "", nil
	case green && !p.green():
		return fmt.Sprintf("issue #%d stays open: kernels that are not new are not known to pass", the.id), nil
	case green:
		return fmt.Sprintf("closed issue #%d", the.id), p.closeIssue(ctx, the, mine)
	case ok:
		return fmt.Sprintf("commented on issue #%d", the.id), p.repeat(ctx, the, mine)
	}
	number, author, err := p.openIssue(ctx, mine)
	if err != nil {
		return "", err
	}
	// Another run may have opened one too: the first stays.
	if all, err = p.issues(ctx, author); err != nil {
		return "", err
	}
	if the, ok = firstOpen(all); !ok || the.id >= number {
		return fmt.Sprintf("opened issue #%d", number), nil
	}
	if err := p.setIssue(ctx, number, &gh.IssueRequest{State: gh.String("closed"), StateReason: gh.String("not_planned")}); err != nil {
		return "", err
	}
	if the.newer(mine) {
		return fmt.Sprintf("issue #%d is of the newer run %d and stays", the.id, the.Run), nil
	}
	return fmt.Sprintf("commented on issue #%d", the.id), p.repeat(ctx, the, mine)
}

// firstOpen is the open issue with the lowest number, which counts when there
// are several.
func firstOpen(all []found) (found, bool) {
	return first(slices.DeleteFunc(slices.Clone(all), func(f found) bool { return !f.open }))
}

// issues lists the tracking issues of this check that the token's owner opened.
func (p *publisher) issues(ctx context.Context, me string) ([]found, error) {
	var all []found
	err := pages(func(o gh.ListOptions) (*gh.Response, error) {
		list, resp, err := p.api.Issues.ListByRepo(ctx, p.api.owner, p.api.repo, &gh.IssueListByRepoOptions{
			State: "all", Labels: []string{Label}, ListOptions: o,
		})
		for _, i := range list {
			m, ok := parseMarker(i.GetBody())
			if ok && m.Kind == kindIssue && m.Name == p.cfg.Name && !i.IsPullRequest() && strings.EqualFold(i.GetUser().GetLogin(), me) {
				all = append(all, found{marker: m, id: int64(i.GetNumber()), open: i.GetState() == "open", text: i.GetBody()})
			}
		}
		return resp, err
	})
	return all, err
}

func (p *publisher) openIssue(ctx context.Context, m marker) (number int64, author string, err error) {
	title := p.cfg.Name + ": not every kernel passes"
	body := p.body(m, p.content.Body)
	issue, _, err := p.api.Issues.Create(ctx, p.api.owner, p.api.repo, &gh.IssueRequest{Title: &title, Body: &body, Labels: &[]string{Label}})
	if err != nil {
		return 0, "", err
	}
	if !slices.ContainsFunc(issue.Labels, func(l *gh.Label) bool { return strings.EqualFold(l.GetName(), Label) }) {
		p.warn(fmt.Sprintf("issue #%d was opened without the label %s and will not be found again: the token's owner needs the triage role", issue.GetNumber(), Label))
	}
	return int64(issue.GetNumber()), issue.GetUser().GetLogin(), nil
}

// repeat says that it is still not green, once for each run and attempt.
func (p *publisher) repeat(ctx context.Context, i found, m marker) error {
	if i.marker == m {
		return nil
	}
	noted := p.note(ctx, i.id, "Still not green")
	if err := p.setIssue(ctx, i.id, &gh.IssueRequest{Body: gh.String(p.body(m, p.content.Body))}); err != nil {
		return err
	}
	return noted
}

// closeIssue closes it, with the last result that was not green in its text.
func (p *publisher) closeIssue(ctx context.Context, i found, m marker) error {
	noted := p.note(ctx, i.id, "Green again")
	_, last, _ := strings.Cut(i.text, "\n")
	err := p.setIssue(ctx, i.id, &gh.IssueRequest{
		Body: gh.String(p.body(m, last)), State: gh.String("closed"), StateReason: gh.String("completed"),
	})
	if err != nil {
		return err
	}
	return noted
}

// note comments on the tracking issue.
func (p *publisher) note(ctx context.Context, number int64, what string) error {
	text := fmt.Sprintf("%s\n%s: %s ([run %d, attempt %d](%s), commit %s)", p.marker(kindNote), what,
		code(clip(p.content.Status, 300)), p.origin.run, p.origin.attempt, p.runURL(), p.origin.sha)
	_, err := p.createComment(ctx, int(number), text)
	return err
}

func (p *publisher) setIssue(ctx context.Context, number int64, change *gh.IssueRequest) error {
	_, _, err := p.api.Issues.Edit(ctx, p.api.owner, p.api.repo, int(number), change)
	return err
}
