import { describe, expect, test } from "vitest"
import { sameButForShortNames } from "../../src/task/same-text.js"

/** `#{` stands for what opens an expression in a template. */
const js = (text: string): string => text.replaceAll("#{", "${")

describe("the same function, minified twice, is the same", () => {
  test.each([
    ["async e=>`Hello, #{e} (attempt #{(0,n.S)().attempt})`", "async a=>`Hello, #{a} (attempt #{(0,e.S)().attempt})`"],
    ["async(e,t)=>e?t:e", "async(n,r)=>n?r:n"],
    ["e=>({to:e,n:e.n})", "t=>({to:t,n:t.n})"],
    ["async e=>{for(let t of e)if(/a\\/e/.test(t))return`#{t.e}#{`#{e}`}`}", "async r=>{for(let n of r)if(/a\\/e/.test(n))return`#{n.e}#{`#{r}`}`}"],
    ["async e => {\n  return e\n}", "async t=>{return t}"],
    ['function e(){return"e"}', 'function t(){return"e"}'],
  ])("%s", (a, b) => {
    expect(sameButForShortNames(js(a), js(b))).toBe(true)
    expect(sameButForShortNames(js(b), js(a))).toBe(true)
    expect(sameButForShortNames(js(a), js(a))).toBe(true)
  })
})

describe("what differs in more than names that a minifier chose does not", () => {
  test.each([
    ["another constant", "async()=>1", "async()=>2"],
    ["another string", 'async e=>e("to")', 'async e=>e("cc")'],
    ["another text of a template", "e=>`to #{e}`", "e=>`cc #{e}`"],
    ["another property", "e=>e.to", "e=>e.cc"],
    ["another key", "e=>({to:e})", "e=>({cc:e})"],
    ["another regular expression", "e=>/to/.test(e)", "e=>/cc/.test(e)"],
    ["a longer name", "async e=>sendMail(e)", "async e=>sendText(e)"],
    ["a long name for a short one", "async e=>send(e)", "async e=>n(e)"],
    ["one name for two", "(e,t)=>e-t", "(e,t)=>e-e"],
    ["two names for one", "(e,t)=>e-e", "(e,t)=>e-t"],
    ["the other order", "(e,t)=>e-t", "(e,t)=>t-e"],
    ["another word of the language", "e=>{for(let t of e)t()}", "e=>{for(let t in e)t()}"],
    ["more of it", "e=>e", "e=>e+1"],
    ["async", "async e=>e", "e=>e"],
  ])("%s", (_, a, b) => {
    expect(sameButForShortNames(js(a), js(b))).toBe(false)
    expect(sameButForShortNames(js(b), js(a))).toBe(false)
  })
})

test("a text that is no JavaScript is compared all the same", () => {
  for (const text of ["`", "${", "}}}", "'", "/", "function () { [native code] }", "\\", "`${`", ""]) {
    expect(sameButForShortNames(text, text)).toBe(true)
    expect(sameButForShortNames(text, `${text}!`)).toBe(false)
  }
})
