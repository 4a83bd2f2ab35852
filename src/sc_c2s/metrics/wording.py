"""The words by which texts about cells say more, less, none and how many: all that is understood of their English."""

from __future__ import annotations

import re

CLAUSE = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bvs)[.!?](?=\s|$)|;|\n\s*(?:\n|(?=[-*•#\d]))|,?\s\b(?:but|while|whereas|although|though)\b"
)
"""Bounds of clauses: the end of a sentence, a semicolon, a contrast, the next point of a list."""
NOT = re.compile(
    r"(?:n't|\b(?:no|not(?! (?:only|just|merely)\b)|cannot|without|lack\w*(?: of)?|absence of|absent|devoid of|free of|loss of|"
    r"negative for|neither|nor|never|miss(?:es|ing)|undetect\w+|fail\w* to))\b(?! (?:change|difference)s?\b)",
    re.IGNORECASE,
)
"""Words that deny what follows."""
_UP = r"high\w*|up-?regulat\w+|elevat\w+|enrich\w+|increas\w+|ris(?:es?|en|ing)|rose|induc\w+|strong\w*|overexpress\w+"
_DOWN = r"low(?:er|est|ly)?|down|down-?regulat\w+|reduc\w+|decreas\w+|diminish\w+|deplet\w+|weak\w*|falls?|fell"
_MARKED = r"(?:mark|characteri[sz]|defin|distinguish)ed by|marker genes?|markers?|signatures?"
DIRECTION = re.compile(
    rf"\b(?:(?P<up>{_UP})|(?P<down>{_DOWN})|(?P<marked>{_MARKED}))\b"
    r"(?! (?:to|proportions?|fractions?|numbers?|shares?|percentages?|frequenc\w+)\b)",
    re.IGNORECASE,
)
"""Words for more and less, before what they are said of."""
AFTER = re.compile(
    r"[\s*`]*\)?:?\s*(?:\([^)]*\)\s*)?(?:(?:expression|levels?|transcripts?|mrnas?|genes?)\s+)*"
    r"(?:(?:is|are|was|were|be|being|can|could|does|do|did|shows?|showed|remain\w*|appear\w*|has|have|as|among|at|the|its|"
    r"a|an|most|more|very|all|also|both|express\w*|\w+ly)\s+){0,5}?"
    rf"(?:(?P<denied>(?:not|no)\s+(?:\w+ly\s+){{0,2}}(?:express\w*|detect\w*|found|observed|present|seen))|"
    rf"(?P<absent>absent|none|lacking|missing|undetect\w+|negative)|"
    rf"(?P<no>(?:not|no longer)\s+(?:(?:\w+ly|an?)\s+)?)?(?:(?P<up>up|{_UP})|(?P<down>{_DOWN})|(?P<marked>{_MARKED})))(?!\w)",
    re.IGNORECASE,
)
"""The same and denials, behind what they are said of."""
COMPARED = re.compile(
    r"\b(?:unlike|than|compared (?:to|with)|relative to|versus|vs\.?|in contrast to|other than|distinct from|resembl\w+|"
    r"similar to)\s(?:[\w-]+\s){0,3}$",
    re.IGNORECASE,
)
"""What follows is said of others."""
ON = re.compile(r",\s*(?:including|such as|e\.g|namely|like|notably)")
"""Commas over which a word goes on."""
REACH = 6
"""The most words between a word and what it is said of."""

_NUMBER = r"(?<![\w.])(?P<{}>\d+(?:\.\d+)?)"
_PERCENT = r"\s*(?:%|per\s?cent\b)"
OF_OTHERS = re.compile(
    r"\s+(?:of\s+(?:the\s+|all\s+|these\s+)?cells\s+)?(?:that\s+)?"
    r"(?:express|(?:of\s+(?:the\s+|all\s+)?)?(?:genes|reads|counts|transcripts|UMIs)|"
    r"(?:high|low|great)er|more|less|fewer|increas|decreas|reduc)",
    re.IGNORECASE,
)
"""What follows a percentage that is no share of the cells."""
FRACTIONS = {
    r"two[- ]thirds": 2 / 3,
    r"three[- ]quarters": 3 / 4,
    r"(?:a|one)[- ]third": 1 / 3,
    r"(?:a|one)[- ](?:quarter|fourth)": 1 / 4,
    r"(?:a|one)[- ]fifth": 1 / 5,
    r"(?:a|one)[- ]tenth": 1 / 10,
    r"half": 1 / 2,
}
ELSEWHERE = re.compile(r",|\b(?:among|and|for|from|in|on|to|with|within|express\w*|which)\b", re.IGNORECASE)
"""Words that part a word such as "mostly" from a cell type behind it."""
MOST, FEW = (0.5, 1.0), (0.0, 0.15)
"""Shares that words such as "mostly" and "few" stand for."""
_MOST = (
    r"mostly|mainly|predominantly|primarily|largely|chiefly|(?:pre)?dominat\w+(?: by)?|(?:the |a )?(?:vast |great )?majority|"
    r"most(?=\s+(?:of|are|were|cells|\w+\s+cells\s+(?:are|were))\b)"
)
_FEW = (
    r"(?:a\s+)?few|rare(?:ly)?|scarce|(?:a\s+)?minority|"
    r"(?:a\s+)?(?:minor|small(?:er)?|low)\s+(?:number|fraction|proportion|population|subset|share|group)"
)
SHARE = re.compile(
    rf"(?P<range>(?:between\s+{_NUMBER.format('least')}(?:{_PERCENT})?\s+and\s+|"
    rf"{_NUMBER.format('low')}(?:{_PERCENT})?\s*(?:-|–|to)\s*)"
    rf"{_NUMBER.format('high')}{_PERCENT})|"
    rf"(?P<number>{_NUMBER.format('value')}{_PERCENT})|"
    rf"\b(?P<fraction>{'|'.join(FRACTIONS)})\b|"
    rf"\b(?P<most>{_MOST})\b|\b(?P<few>{_FEW})\b",
    re.IGNORECASE,
)
"""Shares in numbers and in words."""
