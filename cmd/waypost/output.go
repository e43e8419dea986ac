package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// output prints results for people or, with --json, for programs.
type output struct {
	json bool
	out  io.Writer
}

// show prints v as JSON, or calls people for the table.
func (o output) show(v any, people func(w io.Writer)) error {
	if !o.json {
		people(o.out)
		return nil
	}
	enc := json.NewEncoder(o.out)
	enc.SetIndent("", "  ")
	return enc.Encode(plain(v))
}

// done reports a change that has no table.
func (o output) done(v any, format string, args ...any) error {
	return o.show(v, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}

// list prints rows under a header; with --json the values themselves.
func (o output) list(v any, header []any, rows [][]any) error {
	return o.show(v, func(w io.Writer) {
		t := table.NewWriter()
		t.SetStyle(table.StyleLight)
		t.Style().Options = table.OptionsNoBordersAndSeparators
		t.Style().Format.Header = text.FormatDefault
		t.AppendHeader(table.Row(header))
		for _, r := range rows {
			t.AppendRow(table.Row(r))
		}
		fmt.Fprintln(w, t.Render())
		if len(rows) == 0 {
			fmt.Fprintln(w, "(none)")
		}
	})
}

// progress shows a bar on a terminal once the work has taken a second. total is
// in bytes when bytes is set, else a count; -1 if unknown.
func progress(what string, total int64, bytes bool) *progressbar.ProgressBar {
	visible := term.IsTerminal(int(os.Stderr.Fd()))
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionSetVisibility(false),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(false),
	)
	if visible {
		time.AfterFunc(time.Second, func() { progressbar.OptionSetVisibility(true)(bar) })
	}
	return bar
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04")
}

// count is a number and its noun: "1 member", "2 members".
func count[N int | int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

func bytesText(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n), -1
	for f >= unit && i < 4 {
		f, i = f/unit, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
