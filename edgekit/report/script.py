"""The few lines that make a page answer: buttons that copy, and points of a front that show what they are. Without them nothing is
lost: commands stand there as text, and every point in a table."""

from __future__ import annotations

from typing import Final

SCRIPT: Final = """
'use strict';
const status = document.getElementById('status');
for (const button of document.querySelectorAll('button.copy')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const code = button.parentElement.querySelector('code');
    let told = 'Copied.';
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      told = 'Selected: copy it with Ctrl+C.';
    }
    status.textContent = '';
    requestAnimationFrame(() => { status.textContent = told; });
    button.textContent = told === 'Copied.' ? 'Copied' : 'Selected';
    setTimeout(() => { button.textContent = 'Copy'; }, 2000);
  });
}
for (const front of document.querySelectorAll('.front')) {
  const points = [...front.querySelectorAll('.point')];
  const details = [...front.querySelectorAll('.detail')];
  let pinned = points.findIndex((point) => point.getAttribute('aria-checked') === 'true');
  const show = (shown) => details.forEach((detail, index) => { detail.hidden = index !== shown; });
  const pin = (index) => {
    pinned = index;
    points.forEach((point, other) => {
      point.setAttribute('aria-checked', String(other === index));
      point.setAttribute('tabindex', other === index ? '0' : '-1');
    });
    show(index);
  };
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  points.forEach((point, index) => {
    point.addEventListener('click', () => { point.focus(); pin(index); });
    point.addEventListener('focus', () => pin(index));
    point.addEventListener('pointerenter', () => show(index));
    point.addEventListener('pointerleave', () => show(pinned));
    point.addEventListener('keydown', (event) => {
      const last = points.length - 1;
      const next = event.key === 'Home' ? 0 : event.key === 'End' ? last
        : event.key in steps ? (index + steps[event.key] + points.length) % points.length : -1;
      if (next < 0) return;
      event.preventDefault();
      points[next].focus();
    });
  });
  pin(pinned);
}
"""
