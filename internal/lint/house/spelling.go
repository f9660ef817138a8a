package main

import (
	"regexp"
	"strings"
)

// british has the British spelling of each word as a regular expression, and
// the American one.
var british = []struct{ from, to string }{
	{`diall(er|ed|ing)(s?)`, "dial$1$2"},
	{`(behavi|col|fav|hon|neighb|endeav|lab)our(s|ed|ing|al|able|hood)?`, "${1}or$2"},
	{`(recogn|organ|real|serial|initial|synchron|normal|optim|summar|minim|maxim|random|author|final|general|categor|prior|special|standard|util|visual|local|capital|custom|emphas|apolog|character|critic|memor|penal|stabil|symbol)is(e|ed|es|ing|ation|er)`, "${1}iz$2"},
	{`anal(yse|ysed|ysing)`, "analyze"},
	{`cancell(ed|ing)`, "cancel$1"},
	{`labell(ed|ing)`, "label$1"},
	{`(travel|model|signal|tunnel|channel|marshal|level|total)l(ed|ing|er|ers)`, "$1$2"},
	{`licence(s?)`, "license$1"},
	{`(cent|met|fib|theat)re(s?)`, "${1}er$2"},
	{`(def|off|pret)ence(s?)`, "${1}ense$2"},
	{`catalogue(s?)`, "catalog$1"},
	{`artefact(s?)`, "artifact$1"},
	{`grey(s|ed)?`, "gray$1"},
	{`judgement(s?)`, "judgment$1"},
	{`programme(s?)`, "program$1"},
	{`whilst`, "while"},
	{`(fulfil|instal|enrol)s?`, "${1}l"},
}

// A rule finds words, and replaces the part of each that is British.
type rule struct {
	word, part *regexp.Regexp
	to         string
}

var rules = func() (all []rule) {
	for _, b := range british {
		all = append(all, rule{
			word: regexp.MustCompile(`(?i)\b(?:un|re|de|pre)?` + b.from + `\b`),
			part: regexp.MustCompile(`(?i)` + b.from + `$`),
			to:   b.to,
		})
	}
	return all
}()

// spelled complains about British spelling in a text that begins in a line.
func spelled(text string, line int, complain func(int, string, ...any)) {
	for i, l := range strings.Split(text, "\n") {
		for _, r := range rules {
			for _, word := range r.word.FindAllString(l, -1) {
				complain(line+i, "%q is British for %q", word, r.part.ReplaceAllString(word, r.to))
			}
		}
	}
}
