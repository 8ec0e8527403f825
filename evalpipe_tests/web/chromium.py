"""Chromium, and what is asked of every page in it: the questions that axe would ask, as scripts."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager

from playwright.sync_api import Page

CHROMIUM = next((path for name in ("chromium", "google-chrome", "chrome") if (path := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

Opened = Callable[..., AbstractContextManager[Page]]
"""(path, reviewer=, browser context options...) -> a page of a browser of its own, signed in."""

NAMELESS = """[...document.querySelectorAll('button, a, input:not([type=hidden]), textarea, summary, progress')]
  .filter((one) => !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).map((one) => one.outerHTML)"""
"""The controls without a name."""

TWICE = "[...document.querySelectorAll('[id]')].map((one) => one.id).filter((id, at, ids) => ids.indexOf(id) < at)"
"""The ids that come twice."""

LOW_CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (channels) => channels.slice(0, 3)
    .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
  };
  return [...document.querySelectorAll('#page *')]
    .filter((one) => one.checkVisibility() && !one.matches('.off, kbd, .invisible') &&
      [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .map((one) => {
      const [low, high] = [parse(getComputedStyle(one).color), behind(one)].map(light).sort((a, b) => a - b);
      const what = `${one.tagName}.${one.className} ${one.textContent.trim().slice(0, 30)}`;
      return [what, (high + 0.05) / (low + 0.05)];
    })
    .filter(([, contrast]) => contrast < 4.5);
}"""
"""The texts with a contrast below 4.5 to 1, which WCAG 2.2 asks of text (1.4.3), with it; what is decoration aside.

Source of the formula: WCAG, "relative luminance".
"""
