package expression

import (
	"fmt"
	"math/big"
	"strings"
)

type kind byte

const (
	end kind = iota
	number
	name
	symbol // one of + - * / ( ) ,
)

type token struct {
	kind kind
	at   int // position, from 1
	text string
	node *literal // of a number
}

// String describes the token for a message.
func (t token) String() string {
	if t.kind == end {
		return "end"
	}
	return fmt.Sprintf("%q", t.text)
}

type lexer struct {
	text string
	pos  int
}

func (l *lexer) fail(at int, format string, args ...any) *Error {
	return &Error{Text: l.text, Position: at, Message: fmt.Sprintf(format, args...)}
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' }

func (l *lexer) next() (token, error) {
	for l.pos < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.pos]) >= 0 {
		l.pos++
	}
	start := l.pos
	if start == len(l.text) {
		return token{kind: end, at: start + 1}, nil
	}
	switch c := l.text[start]; {
	case isDigit(c) || c == '.':
		return l.number()
	case isLetter(c):
		word := l.while(func(c byte) bool { return isLetter(c) || isDigit(c) })
		return token{kind: name, at: start + 1, text: word}, nil
	case strings.IndexByte("+-*/(),", c) >= 0:
		l.pos++
		return token{kind: symbol, at: start + 1, text: string(c)}, nil
	default:
		return token{}, l.fail(start+1, "unexpected character %q", []rune(l.text[start:])[0])
	}
}

func (l *lexer) while(take func(byte) bool) string {
	start := l.pos
	for l.pos < len(l.text) && take(l.text[l.pos]) {
		l.pos++
	}
	return l.text[start:l.pos]
}

// suffixes are the units of quantities, in powers.
var suffixes = map[string]struct{ base, exponent int64 }{
	"m": {10, -3}, "k": {10, 3}, "M": {10, 6}, "G": {10, 9}, "T": {10, 12}, "P": {10, 15},
	"Ki": {2, 10}, "Mi": {2, 20}, "Gi": {2, 30}, "Ti": {2, 40}, "Pi": {2, 50},
}

// number reads digits, an exponent and a unit.
func (l *lexer) number() (token, error) {
	start := l.pos
	digits := l.while(func(c byte) bool { return isDigit(c) || c == '.' })
	value, ok := new(big.Rat).SetString(digits)
	if !ok || strings.HasSuffix(digits, ".") && len(digits) == 1 {
		return token{}, l.fail(start+1, "%q is not a number", digits)
	}
	exponent, err := l.exponent()
	if err != nil {
		return token{}, err
	}
	value.Mul(value, power(10, exponent))
	at := l.pos
	suffix := l.while(func(c byte) bool { return isLetter(c) || isDigit(c) })
	out := &literal{number: value}
	switch unit, known := suffixes[suffix]; {
	case known:
		out.unit = true
		value.Mul(value, power(unit.base, unit.exponent))
	case suffix != "":
		return token{}, l.fail(at+1, "unknown unit %q: write one of m k M G T P Ki Mi Gi Ti Pi, or %%", suffix)
	}
	if l.pos < len(l.text) && l.text[l.pos] == '%' {
		if out.unit {
			return token{}, l.fail(l.pos+1, "a quantity is no percentage: write the number without %q", suffix)
		}
		l.pos++
		value.Mul(value, big.NewRat(1, 100))
	}
	return token{kind: number, at: start + 1, text: l.text[start:l.pos], node: out}, nil
}

// exponent reads e3 or E-3, if there is one.
func (l *lexer) exponent() (int64, error) {
	const most = 30
	rest := l.text[l.pos:]
	if rest == "" || rest[0]|0x20 != 'e' {
		return 0, nil
	}
	i, sign := 1, int64(1)
	if i < len(rest) && (rest[i] == '+' || rest[i] == '-') {
		if rest[i] == '-' {
			sign = -1
		}
		i++
	}
	digits, value := i, int64(0)
	for ; i < len(rest) && isDigit(rest[i]); i++ {
		if value = value*10 + int64(rest[i]-'0'); value > most {
			return 0, l.fail(l.pos+1, "the exponent is larger than %d", most)
		}
	}
	if i == digits {
		return 0, nil // no exponent: an unknown unit
	}
	l.pos += i
	return sign * value, nil
}

func power(base, exponent int64) *big.Rat {
	n := new(big.Int).Exp(big.NewInt(base), big.NewInt(max(exponent, -exponent)), nil)
	if exponent < 0 {
		return new(big.Rat).SetFrac(big.NewInt(1), n)
	}
	return new(big.Rat).SetInt(n)
}

type parser struct {
	lexer
	variable string
	token    token
	depth    int
}

func (p *parser) advance() (err error) {
	p.token, err = p.next()
	return err
}

func (p *parser) is(symbols string) bool {
	return p.token.kind == symbol && strings.Contains(symbols, p.token.text)
}

func (p *parser) sum() (node, error) { return p.chain("+-", p.product) }

func (p *parser) product() (node, error) { return p.chain("*/", p.unary) }

// chain parses operands joined by operators of one rank, from the left.
func (p *parser) chain(operators string, operand func() (node, error)) (node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for p.is(operators) {
		op := p.token
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		switch {
		case op.text == "*" && left.quantity() && right.quantity():
			return nil, p.fail(op.at, "a quantity is multiplied by a number or a percentage, not by a quantity")
		case op.text == "/" && right.quantity():
			return nil, p.fail(op.at, "only numbers divide: the right side is a quantity")
		}
		left = &operation{op: op.text[0], at: op.at, left: left, right: right}
	}
	return left, nil
}

func (p *parser) unary() (node, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(p.token.at, "more than %d levels deep", maxDepth)
	}
	defer func() { p.depth-- }()
	if !p.is("-") {
		return p.primary()
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	of, err := p.unary()
	if err != nil {
		return nil, err
	}
	return &negation{of}, nil
}

func (p *parser) primary() (node, error) {
	t := p.token
	switch {
	case t.kind == number:
		return t.node, p.advance()
	case t.kind == name && (t.text == "max" || t.text == "min"):
		return p.call(t)
	case t.kind == name && strings.EqualFold(t.text, p.variable):
		return variable{}, p.advance()
	case t.kind == name:
		return nil, p.fail(t.at, "unknown name %q: write %s, max(a, b) or min(a, b)", t.text, p.variable)
	case p.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		inner, err := p.sum()
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	default:
		return nil, p.fail(t.at, "expected a number, %s, max, min or %q, found %s", p.variable, "(", t)
	}
}

// call parses the two arguments of max and min.
func (p *parser) call(function token) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	left, err := p.sum()
	if err != nil {
		return nil, err
	}
	if !p.is(",") {
		return nil, p.fail(p.token.at, "%s takes two arguments: expected %q, found %s", function.text, ",", p.token)
	}
	if err := p.advance(); err != nil {
		return nil, err
	}
	right, err := p.sum()
	if err != nil {
		return nil, err
	}
	if p.is(",") {
		return nil, p.fail(p.token.at, "%s takes two arguments: expected %q, found a third", function.text, ")")
	}
	op := byte('M')
	if function.text == "min" {
		op = 'm'
	}
	return &operation{op: op, at: function.at, left: left, right: right}, p.expect(")")
}

func (p *parser) expect(text string) error {
	if !p.is(text) {
		return p.fail(p.token.at, "expected %q, found %s", text, p.token)
	}
	return p.advance()
}
