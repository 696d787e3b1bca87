package main

import (
	"strings"
	"unicode"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// maxDescription is where a description ends at the latest, in bytes, unless its
// first sentence is longer. Descriptions are two thirds of a generated definition,
// and "kubectl explain" is read for what a field is, not for a treatise on it.
const maxDescription = 280

// shorten replaces all descriptions of a schema by their summary.
func shorten(s *apiextensionsv1.JSONSchemaProps) {
	if s == nil {
		return
	}
	s.Description = summary(s.Description)
	if s.Items != nil {
		shorten(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		shorten(s.AdditionalProperties.Schema)
	}
	for name, property := range s.Properties {
		shorten(&property)
		s.Properties[name] = property
	}
}

// summary returns as many whole sentences of the first paragraph as fit into
// maxDescription, and at least one.
func summary(text string) string {
	paragraph, _, _ := strings.Cut(strings.TrimSpace(text), "\n\n")
	words := strings.Join(strings.Fields(paragraph), " ")
	end := 0
	for i := range words {
		if !endsSentence(words, i) {
			continue
		}
		if end > 0 && i+1 > maxDescription {
			break
		}
		end = i + 1
	}
	if end == 0 || len(words) <= maxDescription {
		return words
	}
	return words[:end]
}

// endsSentence reports whether the byte at i is a full stop between sentences, as
// opposed to one in "e.g. " or in a field's path.
func endsSentence(text string, i int) bool {
	if text[i] != '.' {
		return false
	}
	if i+1 == len(text) {
		return true
	}
	return i+2 < len(text) && text[i+1] == ' ' && unicode.IsUpper(rune(text[i+2]))
}
